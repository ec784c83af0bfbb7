"""One side of tools/digests: runs the cases on the fastgru that this interpreter finds, and prints the results.

    python tools/digest_worker.py [--only PART] [--match REGEX] ...

A line is a name, a tab and a word: the start of a SHA-256 over dtypes, shapes and bytes of the results of a case;
"refused" for an error of fastgru's tree; "failed:" with the type of any other error. Only fastgru's public interface is
used, so that very different checkouts can be compared. Inputs are fixed: those of the golden files, or seeded.
"""

import argparse
import hashlib
import itertools
import os
import re
import tempfile
import warnings
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np

import fastgru
from fastgru.simd.target import TARGET, runnable

PRECISIONS: Final = ("float32", "float64", "bfloat16", "int8")

Arrays = Mapping[str, np.ndarray]


class Teller:
    """Runs the cases whose names `match` finds, and prints their results."""

    def __init__(self, match: str, precisions: Iterable[str], threads: Iterable[int]) -> None:
        self.match, self.precisions, self.threads = re.compile(match), tuple(precisions), tuple(threads)

    def tell(self, name: str, compute: Callable[[], Any], *, loads: bool = False) -> Any:
        """Print the digest of the result of `compute`, or how it failed. loads: return the result, a model."""
        if not self.match.search(name):
            return None
        value = None
        try:
            value = compute()
            word = "loaded" if loads else digest(value)
        except fastgru.FastGRUError:
            word = "refused"
        except Exception as error:
            word = f"failed:{type(error).__name__}"
        print(name, word, sep="\t", flush=True)
        return value if loads else None

    def tell_model(self, name: str, load: Callable[..., Any], given: Arrays) -> None:
        """Run a model in every precision, on one thread and more: whole, saved, exported, as streams and as a pool."""
        for precision, threads in itertools.product(self.precisions, self.threads):
            label = f"{name} {precision} x{threads}"
            model = self.tell(label, partial(load, precision=precision, threads=threads), loads=True)
            if model is None:
                continue
            self.tell(f"{label}: run", lambda model=model: run(model, given))
            if threads == self.threads[0]:
                self.tell(f"{label}: saved", lambda model=model: run(saved(model), given))
                self.tell(f"{label}: exported", lambda model=model: run(fastgru.load(model.to_onnx()), given))
            if model.graph.states:
                self.tell_streams(label, model, given)

    def tell_streams(self, label: str, model: fastgru.Model, given: Arrays) -> None:
        """Run chunks, frames along each of the first axes, and sessions of a pool with rows along one of these axes."""
        feeds = fitted(model, given)
        frames = {name: a for name, a in feeds.items() if name not in model.graph.states}
        states = [
            (spec.shape or (), feeds[spec.name].shape) for spec in model.inputs if spec.name in model.graph.states
        ]
        free = {n for shape, sizes in states for size, n in zip(shape, sizes, strict=False) if size is None}
        self.tell(f"{label}: chunks", lambda: pushed(model, free, [frames] * 3))
        for axis in range(3):
            cuts = {n: np.split(a, a.shape[axis], axis) for n, a in frames.items() if a.ndim > axis and a.shape[axis]}
            count = max(map(len, cuts.values()), default=0)
            if count > 1:
                parts = [
                    {n: cuts[n][t % len(cuts[n])] if n in cuts else a for n, a in frames.items()} for t in range(count)
                ]
                self.tell(f"{label}: frames along {axis}", lambda parts=parts: pushed(model, free, parts))
            if len(cuts) == len(frames):
                self.tell(f"{label}: pool along {axis}", lambda cuts=cuts: pooled(model, [*cuts.values()]))


def digest(value: Any) -> str:
    """Return a digest of arrays in nested tuples, lists and dicts."""
    found = hashlib.sha256()
    todo = [value]
    while todo:
        value = todo.pop()
        if isinstance(value, Mapping):
            todo += [part for item in value.items() for part in item]
        elif isinstance(value, list | tuple):
            todo += value
        elif isinstance(value, str):
            found.update(value.encode())
        else:
            array = np.ascontiguousarray(value)
            found.update(f"{array.dtype} {array.shape}".encode() + array.tobytes())
    return found.hexdigest()[:24]


def fitted(model: fastgru.Model, given: Arrays) -> dict[str, np.ndarray]:
    """Return the inputs in the dtypes of the model, by order if it names them differently. States begin with zeros."""
    free = [spec.name for spec in model.inputs if spec.name not in given and spec.name not in model.graph.states]
    spare = [array for name, array in given.items() if name not in {spec.name for spec in model.inputs}]
    arrays = {**given, **dict(zip(free, spare, strict=True))}
    rows = next(iter(given.values())).shape[0]
    zeros = {
        spec.name: np.zeros([rows if size is None else size for size in spec.shape or ()])
        for spec in model.inputs
        if spec.name not in arrays
    }
    return {spec.name: {**zeros, **arrays}[spec.name].astype(spec.dtype) for spec in model.inputs}


def run(model: fastgru.Model, given: Arrays) -> dict[str, np.ndarray]:
    return model.run(fitted(model, given))


def saved(model: fastgru.Model) -> fastgru.Model:
    with tempfile.TemporaryDirectory() as folder:
        model.save(Path(folder) / "model.safetensors")
        return fastgru.load(Path(folder) / "model.safetensors")


def pushed(model: fastgru.Model, free: set[int], frames: list[dict[str, np.ndarray]]) -> list[Any]:
    """Return the outputs of a stream for these frames, and its last state."""
    stream = model.stream(*free)
    return [*[stream.push(*frame.values()) for frame in frames], stream.state]


def pooled(model: fastgru.Model, cuts: list[list[np.ndarray]]) -> list[Any]:
    """Return the outputs of three sessions of a pool, pushed together and apart, each with other rows."""
    pool = fastgru.SessionPool(model, 4)
    sessions = [pool.open() for _ in range(3)]
    got = []
    for step, chosen in enumerate(([0, 1, 2], [1], [2, 0], [0, 1, 2])):
        rows = {k: tuple(cut[(k + step) % len(cut)] for cut in cuts) for k in chosen}
        results = pool.push({sessions[k]: frame if len(frame) > 1 else frame[0] for k, frame in rows.items()})
        got.append([results[sessions[k]] for k in chosen])
    return got


def main() -> None:
    from digest_models import files, models
    from digest_suites import layers, operators, recurrent

    cases = {each.__name__: each for each in (models, files, recurrent, layers, operators)}
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--only", action="append", choices=tuple(cases), help="parts, by default all")
    parser.add_argument("--match", default="", help="run the cases whose names this regular expression finds")
    parser.add_argument("--precision", action="append", choices=PRECISIONS)
    parser.add_argument("--threads", action="append", type=int)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    print("fastgru", Path(fastgru.__file__).resolve().parent.parent, sep="\t")
    print("target", TARGET.short, sep="\t")
    lower = [target.short for target in runnable()[::-1] if target != TARGET and not target.features]
    print("lower", " ".join(lower), sep="\t", flush=True)
    threads = options.threads or ((1,) if os.environ.get("FASTGRU_TARGET") else (1, 2))
    teller = Teller(options.match, options.precision or PRECISIONS, threads)
    for part in options.only or cases:
        cases[part](teller)


if __name__ == "__main__":
    main()
