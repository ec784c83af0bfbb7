"""Everything that must hold of one random graph: against its oracle, against the definition, and against itself."""

from __future__ import annotations

import random
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from graph_builder import Builder, Value
from graph_fences import guarded, run_fenced
from numpy.typing import NDArray

from fastgru.errors import StateError, UnsupportedModelError
from fastgru.graph import Graph
from fastgru.load import load, load_graph
from fastgru.model import Model
from fastgru.reference import run_graph

__all__ = ["check_callers", "check_graph"]

Array = NDArray[Any]

# A float32 answer may be off by this part of its largest element, and by so many times what NumPy in float32 is.
SHARE, TIMES = 2e-5, 64
ORACLE_SHARE = 1e-4  # more for the oracle, whose sums and Fourier transforms are rough
LOWP = 0.1  # and a tensor of smaller numbers counts as if it had this one
SHARE64, TIMES64 = 1e-11, 64 * 2.0**-28
# A graph that amplifies rounding errors beyond this says nothing, and is left.
MOST_ERROR = 1e-2


def check_graph(b: Builder, values: list[Value], rng: random.Random, *, thorough: bool = False) -> str:
    """ "checked", or "wild" where the graph amplifies rounding errors. Raises `AssertionError` on a finding.

    thorough: also in float64, on two threads, called by eight at once, as a file of our own, as an ONNX file that we
    wrote, and as a stream.
    """
    content = b.model(values).SerializeToString()
    graph = load_graph(content)
    model, between = Model(graph), Model(graph)
    sides = [{spec.name: named(b, spec.name).arrays[k] for spec in graph.inputs} for k in (0, 1)]
    first: list[dict[str, Array]] = []
    wild = False
    rough: list[dict[str, float]] = []
    exact: list[dict[str, Array]] = []
    for k, feeds in enumerate(sides):
        definition = run_graph(graph, feeds)
        single = run_graph(graph, feeds, dtype="float32")
        fenced = run_fenced(between, feeds, single)
        results = model.run(feeds)
        bits("between fences", fenced, results)
        errors = {}
        for v in values:
            expected, oracle, came = definition[v.name], v.arrays[k], results[v.name]
            assert came.shape == oracle.shape == expected.shape, f"{v.name}: {came.shape}, oracle {oracle.shape}"
            if not v.is_float:
                same(f"{v.name} by definition", expected, oracle)
                same(f"{v.name} by engine", came, oracle)
                continue
            error = largest(single[v.name] - expected)
            scale = max(largest(expected), LOWP)
            errors[v.name] = error
            if not error <= MOST_ERROR * scale:
                wild = True
                continue
            allowed = SHARE * scale + TIMES * error
            if v.exact:
                same(f"{v.name} by engine, of exact numbers", came, oracle.astype(came.dtype))
            near(f"{v.name}: definition and oracle", expected, oracle, allowed + ORACLE_SHARE * max(scale, 1.0))
            near(f"{v.name}: engine and definition", came, expected, allowed)
        first.append(results)
        rough.append(errors)
        exact.append(definition)
    bits("the first sizes again", model.run(sides[0]), first[0])
    if not thorough:
        return "wild" if wild else "checked"

    check_float64(graph, sides, exact, rough)
    bits("two threads", Model(graph, threads=2).run(sides[1]), first[1])
    check_callers(model, sides, first)
    blob = saved(model)
    bits("saved and loaded", load(blob).run(sides[0]), first[0])
    try:
        written = model.to_onnx()
    except UnsupportedModelError:
        written = None
    if written is not None and not wild:
        again = load(written, allow_unread=True).run(sides[1])
        for v in values:
            if v.is_float and not v.exact:
                scale = max(largest(exact[1][v.name]), LOWP)
                near(
                    f"{v.name}: written as ONNX",
                    again[v.name],
                    exact[1][v.name],
                    SHARE * scale + TIMES * rough[1][v.name],
                )
            else:
                same(f"{v.name}: written as ONNX", again[v.name], first[1][v.name])
    check_stream(b, values, model, sides[0], rng)
    return "wild" if wild else "checked"


def check_callers(model: Model, sides: Sequence[Mapping[str, Array]], wanted: Sequence[Mapping[str, Array]]) -> None:
    """Eight threads at once, with inputs that end where a page begins that nobody may read."""
    faults: list[BaseException] = []

    def call(number: int) -> None:
        try:
            for k in (number % len(sides), (number + 1) % len(sides)):
                feeds = {name: guarded(array) for name, array in sides[k].items()}
                bits(f"caller {number} of 8", model.run(feeds), wanted[k])
        except BaseException as fault:
            faults.append(fault)

    callers = [threading.Thread(target=call, args=(number,)) for number in range(8)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    if faults:
        raise faults[0]


def check_float64(
    graph: Graph, sides: list[dict[str, Array]], exact: list[dict[str, Array]], rough: list[dict[str, float]]
) -> None:
    model = Model(graph, precision="float64")
    for feeds, expected, errors in zip(sides, exact, rough, strict=True):
        results = model.run(feeds)
        for name, error in errors.items():
            scale = max(largest(expected[name]), LOWP)
            if error <= MOST_ERROR * scale:
                near(f"{name}: engine in float64", results[name], expected[name], SHARE64 * scale + TIMES64 * error)


def check_stream(b: Builder, values: list[Value], model: Model, feeds: Mapping[str, Array], rng: random.Random) -> None:
    """Any input that has the shape of an output may be its last value: pushes give the bits of runs in a row."""
    pairs = [
        (spec.name, v.name)
        for spec in model.graph.inputs
        for v in values
        if v.is_float and named(b, spec.name).is_float and v.fixed and v.sizes == named(b, spec.name).sizes
    ]
    if not pairs:
        return
    state, output = rng.choice(pairs)
    try:
        stream = model.stream(state={state: output})
    except StateError:
        return
    carried = np.zeros_like(feeds[state], dtype=np.float32)
    others = [name for name in feeds if name != state]
    for turn in range(3):
        scaled = {
            name: feeds[name] if feeds[name].dtype.kind != "f" else feeds[name] * (1 - turn / 4) for name in others
        }
        came = stream.push(*(scaled[name] for name in stream.inputs))
        results = model.run({**scaled, state: carried})
        carried = results[output]
        came = came if isinstance(came, tuple) else (came,)
        bits(f"push {turn} with {state} from {output}", dict(zip(stream.outputs, came, strict=True)),
             {name: results[name] for name in stream.outputs})  # fmt: skip


def saved(model: Model) -> bytes:
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        model.save(path)
        return path.read_bytes()


def named(b: Builder, name: str) -> Value:
    return next(v for v in b.inputs if v.name == name)


def largest(a: Array) -> float:
    return float(np.abs(a).max()) if a.size else 0.0


def same(what: str, came: Array, expected: Array) -> None:
    assert came.dtype == expected.dtype, f"{what}: {came.dtype}, expected {expected.dtype}"
    assert np.array_equal(came, expected), f"{what}: {shown(came, expected)}"


def near(what: str, came: Array, expected: Array, allowed: float) -> None:
    with np.errstate(invalid="ignore"):
        off = largest(np.asarray(came, np.float64) - expected)
    assert off <= allowed, f"{what}: off by {off:.3g}, allowed {allowed:.3g}: {shown(came, expected)}"


def bits(what: str, came: Mapping[str, Array], expected: Mapping[str, Array]) -> None:
    for name, array in expected.items():
        assert came[name].tobytes() == array.tobytes(), f"{what}: {name}: {shown(came[name], array)}"


def shown(came: Array, expected: Array) -> str:
    return f"{came.dtype} {came.shape}\n{str(came)[:400]}\nexpected\n{str(expected)[:400]}"
