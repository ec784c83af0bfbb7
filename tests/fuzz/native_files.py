"""Small files of the package's own form, which together have every operator, from the operators' own test cases.

A file holds one to three nodes of different operators, with some of the inputs as constants; file n is always the same.
"""

from __future__ import annotations

import random
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgru.errors import FastGRUError
from fastgru.graph import Graph, Node, Subgraph, TensorSpec
from fastgru.model import Model
from fastgru.reference import OPS, run_graph
from fastgru.reference.operator import is_floating
from fastgru.spec import ACTIVATIONS, RECURRENT, Activation, RecurrentSpec

sys.path.insert(0, str(Path(__file__).parent.parent / "engine"))
from engine_cases import CASES, Case

__all__ = ["draw_graph", "operators"]

Array = NDArray[Any]

MOST_ELEMENTS = 4000  # of the inputs of a case


def _more() -> list[Case]:
    """Of operators that the table of cases leaves to other tests."""
    x = np.linspace(-2, 2, 24, dtype=np.float32).reshape(2, 3, 4)
    numbers = [np.array(n, np.int64) for n in (1, 9, 2)]
    return [
        Case("constant_of_shape", (np.array([2, 3]),), {"value": 1.5, "dtype": "float32"}, (0,)),
        Case("constant_of_shape", (np.array([4]),), {"value": 7, "dtype": "int64"}, (0,)),
        Case("range", tuple(numbers), {}, (0, 1, 2)),
        Case("shape", (x,), {"start": 0, "end": -1}),
        Case("shape", (x,)),
        Case("split", (x,), {"axis": 2, "sizes": [1, 0, 3]}),
        Case("split", (x,), {"axis": 1, "parts": 2}),
        Case("split", (x, np.array([1, 2])), {"axis": 1}, (1,)),
    ]


def _by_operator() -> dict[str, list[Case]]:
    found: dict[str, list[Case]] = {}
    for case in (*(c for cases in CASES.values() for c in cases), *_more()):
        if sum(a.size for a in case.inputs if a is not None) <= MOST_ELEMENTS:
            found.setdefault(case.op, []).append(case)
    return found


_CASES = _by_operator()


def operators() -> list[str]:
    return sorted({*_CASES, *RECURRENT})


def draw_graph(rng: random.Random) -> tuple[Graph, dict[str, Array]]:
    """A valid graph, and what it takes."""
    nodes: list[Node] = []
    inputs: list[TensorSpec] = []
    outputs: list[TensorSpec] = []
    constants: dict[str, Array] = {}
    feeds: dict[str, Array] = {}
    for k in range(rng.choice((1, 1, 1, 2, 3))):
        op = rng.choice(operators())
        case = _recurrent(op, rng) if op in RECURRENT else rng.choice(_CASES[op])
        names = tuple("" if a is None else f"{k}.x{i}" for i, a in enumerate(case.inputs))
        for i, (name, array) in enumerate(zip(names, case.inputs, strict=True)):
            if not name:
                continue
            if i in case.constant or rng.random() < 0.2:
                constants[name] = np.asarray(array)
                continue
            feeds[name] = np.asarray(array)
            sizes = tuple(n if rng.random() < 0.3 else None for n in feeds[name].shape)
            inputs.append(TensorSpec(name, feeds[name].dtype.name, sizes if rng.random() < 0.9 else None))
        results = tuple(f"{k}.y{i}" for i in range(_outputs(case)))
        attrs = {key: _of_its_own(value, f"{k}.") for key, value in case.attrs.items()}
        nodes.append(Node(op, names, results, attrs, f"node {k}" if rng.random() < 0.5 else ""))
        outputs += [TensorSpec(name, "float32", None) for name in results]
    graph = Graph(tuple(inputs), tuple(outputs), tuple(nodes), constants, name="native")
    if rng.random() < 0.15 and (states := _states(graph, feeds)):
        fixed = [replace(s, shape=feeds[s.name].shape) if s.name in states else s for s in graph.inputs]
        graph = replace(graph, inputs=tuple(fixed), states=states)
    if rng.random() < 0.15:
        with suppress(FastGRUError):
            graph = Model(graph, precision=rng.choice(("bfloat16", "int8"))).to_graph()
    return graph, feeds


def _of_its_own(value: Any, prefix: str) -> Any:
    """A body with names that no other has."""
    if not isinstance(value, Subgraph):
        return value

    def named(names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(name and prefix + name for name in names)

    nodes = tuple(
        Node(n.op, named(n.inputs), named(n.outputs), {k: _of_its_own(v, prefix) for k, v in n.attrs.items()}, n.name)
        for n in value.nodes
    )
    return Subgraph(named(value.inputs), named(value.captured), named(value.outputs), nodes)


def _states(graph: Graph, feeds: dict[str, Array]) -> dict[str, str]:
    """The first input that has the shape of an output may be its last value."""
    with suppress(FastGRUError):
        for name, result in run_graph(graph, feeds).items():
            for given, array in feeds.items():
                if result.shape == array.shape and is_floating(result.dtype) and is_floating(array.dtype):
                    return {given: name}
    return {}


def _outputs(case: Case) -> int:
    if case.op == "split":
        return len(case.attrs["sizes"]) if "sizes" in case.attrs else 2
    return OPS[case.op].schema.outputs or 1


def _recurrent(op: str, rng: random.Random) -> Case:
    """A layer of a random form, its weights constants."""
    kind = RECURRENT[op]
    direction = rng.choice(("forward", "reverse", "bidirectional"))
    fields: dict[str, Any] = {
        "input_size": rng.randint(1, 5), "hidden_size": rng.choice((1, 2, 3, 8, 17)), "direction": direction,
        "clip": rng.choice((None, None, 0.5)), "mask_output": rng.choice(("carry", "zero")),
        **{flag: rng.random() < 0.5 for flag in kind.FLAGS},
    }  # fmt: skip
    if rng.random() < 0.4:
        safe = sorted(set(ACTIVATIONS) - {"affine", "relu", "thresholded_relu"})
        for name in kind.FUNCTIONS:
            fields[name] = tuple(Activation(rng.choice(safe)) for _ in range(2 if direction == "bidirectional" else 1))
    spec: RecurrentSpec = kind(**fields)
    numbers = np.random.default_rng(rng.randrange(1 << 30))
    T, N, D, H = rng.randint(1, 5), rng.randint(1, 3), spec.num_directions, spec.hidden_size

    def uniform(*shape: int) -> Array:
        return numbers.uniform(-1, 1, shape).astype(np.float32)

    given: list[Array | None] = [
        uniform(N, T, spec.input_size) if spec.batch_first else uniform(T, N, spec.input_size),
        uniform(D, N, H), numbers.integers(0, T + 1, N), numbers.random((N, T) if spec.batch_first else (T, N)) < 0.7,
        *(uniform(D, N, H) for _ in spec.STATES[1:]),
    ]  # fmt: skip
    given = [a if i == 0 or rng.random() < 0.5 else None for i, a in enumerate(given)]
    first = len(given)
    for _ in range(D):
        given += [
            uniform(*shape) if name.startswith("weight") or rng.random() < 0.7 else None
            for name, shape in spec.weight_shapes.items()
        ]
    constant = tuple(i for i in range(first, len(given)) if given[i] is not None)
    return Case(op, tuple(given), {"spec": spec.to_dict()}, constant)
