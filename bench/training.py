"""One training step next to torch: forward, backward and Adam of an embedding, a GRU and a linear layer.

python -m bench.training [--hidden 64 128 256] [--vocabulary 64] [--repeats 15] [--threads 1]

T = 100, N = 32. The losses of both over three steps are compared first; then both are timed in turns in one process.
The peak memory of three steps is measured in a process for each, beyond its memory when the network was made.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

T, N = 100, 32
RATE = 1e-3


def batch(vocabulary: int) -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    return rng.integers(0, vocabulary, (T, N)), rng.integers(0, vocabulary, (T, N))


def weights(hidden: int, vocabulary: int) -> dict[str, Any]:
    """Return weights with torch's names and distributions."""
    rng = np.random.default_rng(1)
    bound = hidden**-0.5
    gates = 3 * hidden
    shapes = {"0.weight": (vocabulary, hidden), "2.weight": (vocabulary, hidden), "2.bias": (vocabulary,)}
    shapes |= {f"1.weight_{side}_l0": (gates, hidden) for side in ("ih", "hh")}
    shapes |= {f"1.bias_{side}_l0": (gates,) for side in ("ih", "hh")}
    return {name: rng.uniform(-bound, bound, shape).astype(np.float32) for name, shape in shapes.items()}


def with_torch(hidden: int, vocabulary: int, threads: int) -> Callable[[], float]:
    import torch

    torch.set_num_threads(threads)
    net = torch.nn.ModuleList(
        [torch.nn.Embedding(vocabulary, hidden), torch.nn.GRU(hidden, hidden), torch.nn.Linear(hidden, vocabulary)]
    )
    net.load_state_dict({name: torch.from_numpy(a) for name, a in weights(hidden, vocabulary).items()})
    optimizer = torch.optim.Adam(net.parameters(), lr=RATE)
    ids, targets = map(torch.from_numpy, batch(vocabulary))

    def step() -> float:
        optimizer.zero_grad()
        logits = net[2](net[1](net[0](ids))[0])
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
        loss.backward()
        optimizer.step()
        return float(loss.item())

    return step


def with_fastgru(hidden: int, vocabulary: int, threads: int) -> Callable[[], float]:
    import fastgru
    from fastgru.learn.chain import Chain
    from fastgru.learn.optimizers import Adam

    arrays = weights(hidden, vocabulary)
    gru, embedding = fastgru.GRU.from_torch(arrays, "1"), fastgru.Embedding.from_torch(arrays, "0")
    net = fastgru.Sequential(embedding, gru, fastgru.Linear.from_torch(arrays, "2"))
    chain = Chain(net.to_graph(), "float32", threads)
    updates, count = Adam().begin(chain.native, chain.weights, list(chain.weights.places)), 0
    ids, targets = batch(vocabulary)

    def step() -> float:
        nonlocal count
        count += 1
        chain.weights.flat_gradient[...] = 0
        rows = chain.forward(ids)
        loss = chain.entropy(rows, targets, 1 / targets.size).sum()
        chain.back(rows)
        updates.step(count, RATE, 0.0, 1.0)
        return float(loss)

    return step


MAKERS = {"torch": with_torch, "fastgru": with_fastgru}


def resident_bytes(peak: bool) -> int:
    name = "VmHWM:" if peak else "VmRSS:"
    with open("/proc/self/status", encoding="ascii") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith(name))


def peak_of(name: str, hidden: int, vocabulary: int, threads: int) -> int:
    """Return the peak bytes of three steps in a process of their own, which made a small network before."""
    command = [sys.executable, "-m", "bench.training", "--peak", name, "--hidden", str(hidden)]
    command += ["--vocabulary", str(vocabulary), "--threads", str(threads)]
    return int(json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hidden", type=int, nargs="+", default=[64, 128, 256])
    parser.add_argument("--vocabulary", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--peak", choices=sorted(MAKERS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peak:
        MAKERS[options.peak](8, 8, options.threads)()
        step = MAKERS[options.peak](options.hidden[0], options.vocabulary, options.threads)
        before = resident_bytes(peak=False)
        for _ in range(3):
            step()
        print(resident_bytes(peak=True) - before)
        return
    print(f"T = {T}, N = {N}, {options.vocabulary} symbols, {options.threads} thread(s); ms a step, MiB at the peak")
    print("  H   torch  fastgru  times faster   torch MiB  fastgru MiB")
    for hidden in options.hidden:
        theirs, ours = (MAKERS[name](hidden, options.vocabulary, options.threads) for name in ("torch", "fastgru"))
        losses = np.array([[theirs(), ours()] for _ in range(3)])
        np.testing.assert_allclose(losses[:, 1], losses[:, 0], rtol=1e-4)
        taken: dict[int, list[float]] = {0: [], 1: []}
        for _ in range(options.repeats):
            for k, step in enumerate((theirs, ours)):
                begun = time.perf_counter()
                step()
                taken[k].append(1e3 * (time.perf_counter() - begun))
        a, b = (statistics.median(taken[k]) for k in (0, 1))
        peaks = [peak_of(name, hidden, options.vocabulary, options.threads) / 2**20 for name in ("torch", "fastgru")]
        print(f"{hidden:>3}  {a:6.1f}  {b:7.1f}  {a / b:12.2f}  {peaks[0]:10.1f}  {peaks[1]:11.1f}", flush=True)


if __name__ == "__main__":
    main()
