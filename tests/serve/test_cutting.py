"""Which models' sequences may be cut along time, and where they are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fastgru import GRU, Gate, Linear, Model, Sequential
from fastgru.graph import Graph, Node, TensorSpec
from fastgru.serve.cutting import Time, cuts
from fastgru.serve.models import Served
from fastgru.serve.repository import Repository
from fastgru.serve.settings import Settings


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng((seed, *shape)).standard_normal(shape).astype(np.float32) / 2


def gru(**options: Any) -> GRU:
    gate = [Gate(normal(4, 4, seed=k), normal(4, 4, seed=k + 3)) for k in range(3)]
    return GRU.from_gates(reset=gate[0], update=gate[1], candidate=gate[2], **options)


def time_of(model: Model) -> Time | None:
    served: Served = Repository({"m": model}, Settings(capacity=4)).get("m")
    return served._shapes.time


def after(gru_graph: Graph, *nodes: Node, **constants: np.ndarray) -> Model:
    """A model whose output is what these nodes make of that of the network."""
    (first,) = [spec.name for spec in gru_graph.outputs if spec.name not in gru_graph.states.values()]
    renamed = [Node(n.op, tuple(first if i == "$" else i for i in n.inputs), n.outputs, n.attrs) for n in nodes]
    states = [spec for spec in gru_graph.outputs if spec.name in gru_graph.states.values()]
    outputs = (TensorSpec(renamed[-1].outputs[0], "float32", None), *states)
    values, states_of = {**gru_graph.constants, **constants}, gru_graph.states
    return Model(Graph(gru_graph.inputs, outputs, (*gru_graph.nodes, *renamed), values, states=states_of))


@pytest.mark.parametrize("batch_first", [False, True])
def test_recurrent_networks_are_cut(batch_first):
    axis = int(batch_first)
    graph = Sequential(gru(batch_first=batch_first), Linear(normal(3, 4))).to_graph(initial_state=True)
    assert time_of(Model(graph)) == Time((axis,), (axis,))


def test_what_looks_ahead_or_over_a_whole_sequence_is_not():
    graph = Sequential(gru()).to_graph(initial_state=True)
    assert time_of(after(graph, Node("binary", ("$", "$"), ("y2",), {"kind": "add"}))) == Time((0,), (0,))
    assert time_of(after(graph, Node("softmax", ("$",), ("y2",), {"axis": 0}))) is None
    mean = Node("reduce", ("$",), ("y2",), {"kind": "mean", "axes": [0], "keepdims": True})
    assert time_of(after(graph, mean)) is None


def test_parts_are_powers_of_two():
    assert cuts(1, 64) == [(0, 1)]
    assert [end - begin for begin, end in cuts(200, 64)] == [64, 64, 64, 8]
    assert [end - begin for begin, end in cuts(7, 64)] == [4, 2, 1]
    assert [end - begin for begin, end in cuts(5, 1)] == [1] * 5
    for steps in range(1, 300):
        parts = cuts(steps, 32)
        assert [begin for begin, _ in parts] == [0, *[end for _, end in parts[:-1]]]
        assert parts[-1][1] == steps
