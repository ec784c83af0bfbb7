"""Load and run one hostile loop in a process of its own: the error, the seconds and the peak of memory, as JSON.

    python tests/importers/hostile_loops_worker.py NAME

What it takes to get there is no part of the seconds: a loop of the same operators that ends runs first.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from control_models import info, node
from onnx import ModelProto, TensorProto, helper
from onnx_build import make_model

import fastgru

sys.path.append(str(Path(__file__).parents[1]))
from peak import peak_bytes

V = {"v0": np.ones(3, np.float32)}
ONE = np.float32(1)


def body_of(name: str, nodes: list[Any], state: str = "v", rows: tuple[str, ...] = ()) -> Any:
    """A body that makes `state`2 of a state, and stacks rows."""
    on = f"{name}_on"
    return helper.make_graph(
        [*nodes, node("Identity", [on], [f"{on}2"])],
        name,
        [info(f"{name}_i", (), TensorProto.INT64), info(on, (), TensorProto.BOOL), info(state)],
        [info(f"{on}2", (), TensorProto.BOOL), info(f"{state}2"), *map(info, rows)],
    )


def loop(steps: int | None, nodes: list[Any], rows: tuple[str, ...] = (), **constants: Any) -> ModelProto:
    """A Loop over v, without a limit where steps is None."""
    outputs = ["vn", *(f"{row}s" for row in rows)]
    outer = node(
        "Loop", ["" if steps is None else "steps", "true", "v0"], outputs, "loop", body=body_of("b", nodes, rows=rows)
    )
    arrays = {"true": np.array(True), **({} if steps is None else {"steps": np.array(steps)}), **constants}
    return make_model([outer], V, outputs, arrays)


def times() -> list[Any]:
    return [node("Mul", ["v", "by"], ["v2"])]


def within(depth: int) -> list[Any]:
    """Loops within loops, each of `steps` iterations, around one product."""
    inner, state = [node("Mul", [f"w{depth}", "by"], [f"w{depth}2"])], f"w{depth}"
    for k in reversed(range(depth)):
        outside = f"w{k}" if k else "v"
        around = body_of(f"b{k}", inner, state)
        inner, state = [node("Loop", ["steps", "true", outside], [f"{outside}2"], body=around)], outside
    return inner


def wide(steps: int | None, width: int) -> ModelProto:
    nodes = [*times(), node("Expand", ["v2", "wide"], ["row"])]
    return loop(steps, nodes, ("row",), by=ONE, wide=np.array([width, 3]))


def joined(steps: int, count: int) -> ModelProto:
    """A state that grows to `count` times its size in each iteration."""
    return loop(steps, [node("Concat", ["v"] * count, ["v2"], axis=0)])


def constant(steps: int, count: int) -> ModelProto:
    """The same from a constant, which could be folded."""
    model = joined(steps, count)
    model.graph.input.pop()
    model.graph.initializer.append(helper.make_tensor("v0", TensorProto.FLOAT, [3], [1, 1, 1]))
    return model


def widened(steps: int, sizes: list[int]) -> ModelProto:
    """A body that makes much of little, and of that little again."""
    nodes = [node("Expand", ["v", "wide"], ["a"]), node("ReduceMax", ["a", "first"], ["v2"], keepdims=0)]
    return loop(steps, nodes, wide=np.array([*sizes, 3]), first=np.array([0]))


# By name: a loop of the kind that ends, and the hostile one.
LOOPS: dict[str, tuple[Callable[[], ModelProto], Callable[[], ModelProto]]] = {
    "endless": (lambda: loop(12, times(), by=ONE), lambda: loop(None, times(), by=ONE)),
    "huge": (lambda: loop(12, times(), by=ONE), lambda: loop(1 << 62, times(), by=ONE)),
    "nested": (lambda: loop(12, within(2), by=ONE), lambda: loop(1 << 40, within(2), by=ONE)),
    "nested deeply": (lambda: loop(2, within(3), by=ONE), lambda: loop(9, within(12), by=ONE)),
    "growing": (lambda: joined(2, 2), lambda: joined(200, 2)),
    "growing fast": (lambda: joined(2, 2), lambda: joined(200, 40)),
    "growing constant": (lambda: constant(2, 2), lambda: constant(200, 40)),
    "stacked without end": (lambda: wide(12, 5000), lambda: wide(None, 5000)),
    "stacked": (lambda: wide(12, 5000), lambda: wide(99_999, 5000)),
    "wide": (lambda: widened(12, [10]), lambda: widened(99_999, [1 << 34])),
}  # fmt: skip


def main(name: str) -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (600, 600))
    ends, hostile = LOOPS[name]
    for model in (ends(), ends()):
        fastgru.load(model.SerializeToString()).run(V if model.graph.input else {})
    data, error = hostile().SerializeToString(), ""
    start = time.process_time()
    try:
        model = fastgru.load(data)
        model.run(V if model.inputs else {})
    except fastgru.FastGRUError as raised:
        error = f"{type(raised).__name__}: {raised}"
    seconds = time.process_time() - start
    peak = peak_bytes()
    print(json.dumps({"error": error, "seconds": seconds, "peak": peak}))


if __name__ == "__main__":
    main(sys.argv[1])
