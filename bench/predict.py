"""The figures of `predict`: python -m bench.predict [--sequences N] [--budget BYTES], from the folder of the clone.

First, sequences of 10 to 400 steps from a generator, H = 128, next to onnxruntime one by one (the better of 1 and 2
threads, on a sample), and the memory that they take. Then, 2,000 log-normal lengths from 10 to 4,000, nearly all
distinct, next to the least time of their multiply-adds. The exit status is 1 if a bound is missed.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

import fastgru
from fastgru.bench.bounds import measure_peaks

I = H = 128
_SAMPLE = 400  # sequences that onnxruntime runs
_EVERY = 50  # distance of the results whose bits are compared with a single call


def network(threads: int) -> fastgru.GRU:
    rng = np.random.default_rng(0)
    shapes = ((1, 3 * H, I), (1, 3 * H, H), (1, 6 * H))
    arrays = [(rng.standard_normal(shape) / np.sqrt(H)).astype(np.float32) for shape in shapes]
    return fastgru.GRU.from_onnx(*arrays, linear_before_reset=1, threads=threads, layout=1)


class Sequences:
    """Sequences by number. They are cheap to make, so that the generator is not what is timed."""

    def __init__(self, lengths: np.ndarray) -> None:
        self.lengths = lengths
        self._pool = np.random.default_rng(1).standard_normal((1 << 20) + int(lengths.max()) * I).astype(np.float32)

    def __getitem__(self, k: int) -> np.ndarray:
        at, T = k * 7919 % (1 << 20), int(self.lengths[k])
        return self._pool[at : at + T * I].reshape(T, I)

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[k] for k in range(len(self.lengths)))

    @property
    def flops(self) -> float:
        return float(self.lengths.sum()) * 6 * H * (I + H)


def memory(word: str) -> int:
    """Return VmRSS or VmHWM of this process, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(word))


def digest(result: tuple[np.ndarray, ...]) -> bytes:
    return blake2b(b"".join(array.tobytes() for array in result)).digest()


def run(net: fastgru.GRU, sequences: Sequences, budget: int) -> tuple[float, int, int]:
    """Return the seconds, the additional bytes, and how many results of a sample have other bits than a single call."""
    net.predict([sequences[0]])
    before = memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM
    kept: dict[int, bytes] = {}
    begun = time.perf_counter()
    for k, result in enumerate(net.predict(iter(sequences), budget=budget)):
        if k % _EVERY == 0:
            kept[k] = digest(result)
    seconds = time.perf_counter() - begun
    peak = memory("VmHWM") - before
    wrong = sum(digest(net(sequences[k])) != each for k, each in kept.items())
    return seconds, peak, wrong


def one_by_one(sequences: Sequences) -> float:
    """Return the best seconds per sequence of onnxruntime."""
    import onnxruntime

    best, file = float("inf"), network(1).to_onnx()
    for threads in (1, 2):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        for count in (20, min(_SAMPLE, len(sequences.lengths))):
            begun = time.perf_counter()
            for k in range(count):
                session.run(None, {"x": sequences[k][None]})
            seconds = (time.perf_counter() - begun) / count
        best = min(best, seconds)
    return best


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.predict", description=__doc__.partition("\n")[0])
    parser.add_argument("--sequences", type=int, default=100_000, metavar="N", help="of the first figure")
    parser.add_argument("--budget", type=int, default=256 << 20, metavar="BYTES")
    options = parser.parse_args(words)
    rng, missed = np.random.default_rng(2), []

    def figure(text: str, value: float, bound: float, *, least: bool = False) -> None:
        holds = value >= bound if least else value <= bound
        missed.extend([] if holds else [text])
        word = "at least" if least else "at most"
        print(f"  {text}: {value:,.2f}, {word} {bound:,.2f}{'' if holds else '  MISSED'}")

    many = Sequences(rng.integers(10, 401, options.sequences))
    rival = one_by_one(many)
    seconds, peak, wrong = run(network(2), many, options.budget)
    print(f"{options.sequences:,} sequences of 10 to 400 steps, H = {H}, 2 threads: {seconds:.1f} s")
    figure("times as fast as onnxruntime one by one", rival * options.sequences / seconds, 2.5, least=True)
    figure("MiB beyond the weights", peak / 2**20, options.budget / 2**20)
    figure("sequences of the sample with other bits than alone", wrong, 0)
    distinct = Sequences(np.clip(rng.lognormal(np.log(300), 1, 2000), 10, 4000).astype(int))
    for threads in (1, 2):
        peaks, net = measure_peaks(threads), network(threads)
        seconds = min(run(net, distinct, options.budget)[0] for _ in range(3))
        peaks = peaks.best_with(measure_peaks(threads))
        count = len(set(distinct.lengths.tolist()))
        print(f"2,000 sequences of {count:,} lengths to 4,000 steps, {threads} thread(s): {seconds:.2f} s")
        full = np.zeros((64, 200, I), np.float32)
        whole = min(timed(lambda: net(full)) for _ in range(8)) / (64 * 200)  # noqa: B023
        figure("times the multiply-adds at this CPU's peak", seconds * peaks.flops_per_s / distinct.flops, 1.3)
        figure("times full batches of equal lengths", seconds / (whole * float(distinct.lengths.sum())), 1.3)
    return int(bool(missed))


def timed(call: Any) -> float:
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
