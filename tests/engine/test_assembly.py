"""Tensors made of boxes: what is read through them and what is copied; answers are those of the definitions."""

from __future__ import annotations

import random

import numpy as np
import pytest
from engine_cases import agree, normal
from hypothesis import given, settings
from hypothesis import strategies as st

from fastgru.engine import Executable
from fastgru.engine.ops import conv
from fastgru.graph import Graph, Node, TensorSpec
from fastgru.reference import evaluate


class Maze:
    """A random graph of operators that move elements, with a few that compute in between."""

    def __init__(self, seed):
        self.rng = random.Random(seed)
        self.inputs = {f"in{i}": normal(*self.rng.sample([1, 2, 3, 4, 6], 3)) for i in range(2)}
        self.values, self.constants, self.nodes = dict(self.inputs), {}, []

    def constant(self, array):
        name = f"k{len(self.constants)}"
        self.constants[name] = np.asarray(array)
        return name

    def add(self, op, reads, attrs=None, outputs=1):
        names = tuple(f"n{len(self.nodes)}_{i}" for i in range(outputs))
        node = Node(op, tuple(reads), names, attrs or {})
        arrays = [self.values.get(n, self.constants.get(n)) for n in reads]
        results = evaluate(node, arrays)
        if all(0 < a.size <= 600 and a.ndim <= 5 for a in results):
            self.nodes.append(node)
            self.values.update(zip(names, results, strict=True))

    def step(self):
        rng = self.rng
        x = rng.choice(list(self.values)[-6:])
        a = self.values[x]
        axis = rng.randrange(a.ndim) if a.ndim else 0
        choice = rng.choice(
            ["move", "slice", "concat", "pad", "reshape", "scatter", "gather", "split", "compute", "expand"]
        )
        if not a.ndim or choice == "compute":
            other = rng.choice([n for n, b in self.values.items() if b.shape == a.shape])
            self.add("binary", (x, other), {"kind": rng.choice(["add", "sub", "min"])})
        elif choice == "move":
            self.add("transpose", (x,), {"perm": rng.sample(range(a.ndim), a.ndim)})
        elif choice == "slice":
            n = a.shape[axis]
            ends = sorted(rng.sample(range(n + 1), 2))
            step = rng.choice([1, 1, 1, 2, -1])
            if step < 0:
                ends = [ends[1] - 1, ends[0] - 1 if ends[0] else -99]
            bounds = [self.constant(np.array([v])) for v in (*ends, axis, step)]
            self.add("slice", (x, *bounds))
        elif choice == "concat":
            beside = np.delete(a.shape, axis).tolist()
            same = [n for n, b in self.values.items() if b.ndim == a.ndim]
            fits = [n for n in same if np.delete(self.values[n].shape, axis).tolist() == beside]
            self.add("concat", [x, *rng.choices(fits, k=rng.randint(1, 2))], {"axis": axis})
        elif choice == "pad":
            pads = [rng.choice([0, 0, 1, 2, -1]) if min(a.shape) > 2 else rng.choice([0, 1]) for _ in range(2 * a.ndim)]
            self.add("pad", (x, self.constant(np.array(pads))), {"mode": "constant"})
        elif choice == "reshape":
            sizes = [n for n in a.shape if n > 1]
            if len(sizes) > 1 and rng.random() < 0.5:
                sizes[:2] = [sizes[0] * sizes[1]]
            elif sizes and sizes[0] % 2 == 0:
                sizes[:1] = [2, sizes[0] // 2]
            sizes.insert(rng.randint(0, len(sizes)), 1)
            self.add("reshape", (x, self.constant(np.array(sizes))))
        elif choice == "scatter":
            k = rng.randint(1, a.ndim)
            lows = [rng.randrange(n) for n in a.shape[:k]]
            ranges = [
                range(low, rng.randint(low + 1, n), rng.choice([1, 1, 2]))
                for low, n in zip(lows, a.shape, strict=False)
            ]
            grid = np.stack(np.meshgrid(*ranges, indexing="ij"), -1)
            updates = np.resize(self.values[rng.choice(list(self.values))], (*grid.shape[:-1], *a.shape[k:]))
            name = f"in{len(self.inputs)}"
            self.inputs[name] = self.values[name] = updates.astype(np.float32)
            self.add("scatter_nd", (x, self.constant(grid), name), {"reduction": "none"})
        elif choice == "gather":
            n = a.shape[axis]
            start = np.arange(rng.randint(1, n))
            self.add("gather", (x, self.constant(start[:, None] + np.arange(n - start[-1]))), {"axis": axis})
        elif choice == "split":
            if a.shape[axis] > 1:
                cut = rng.randint(1, a.shape[axis] - 1)
                self.add("split", (x,), {"axis": axis, "sizes": [cut, a.shape[axis] - cut]}, 2)
        else:
            self.add("expand", (x, self.constant(np.array([rng.choice([1, 2]), *a.shape]))))

    def graph(self):
        made = [name for node in self.nodes for name in node.outputs]
        outputs = self.rng.sample(made, min(len(made), self.rng.randint(1, 3)))
        specs = tuple(TensorSpec(n, "float32", a.shape) for n, a in self.inputs.items())
        results = tuple(TensorSpec(o, "float32", None) for o in dict.fromkeys([*outputs, made[-1]]))
        return Graph(specs, results, tuple(self.nodes), self.constants)


@settings(max_examples=200, deadline=None)
@given(seed=st.integers(0, 2**32), steps=st.integers(1, 25))
def test_any_maze_of_boxes_and_views(seed, steps):
    maze = Maze(seed)
    for _ in range(steps):
        maze.step()
    if maze.nodes:
        agree(maze.graph(), maze.inputs, "float64")


def graph_of(nodes, inputs, outputs, constants):
    specs = tuple(TensorSpec(n, a.dtype.name, a.shape) for n, a in inputs.items())
    return Graph(specs, tuple(TensorSpec(o, "float32", None) for o in outputs), tuple(nodes), constants)


def i64(*values):
    return np.array(values, np.int64)


def names(graph):
    return Executable(graph).program({s.name: s.shape for s in graph.inputs}).names


def test_what_is_computed_for_a_concatenation_is_written_there():
    x = normal(2, 8, 33)
    nodes = [
        Node("activation", ("x",), ("a",), {"kind": "tanh"}),
        Node("activation", ("x",), ("b",), {"kind": "relu"}),
        Node("unsqueeze", ("a",), ("a1",), {"axes": [1]}),
        Node("unsqueeze", ("b",), ("b1",), {"axes": [1]}),
        Node("concat", ("a1", "b1"), ("c",), {"axis": 1}),
        Node("transpose", ("c",), ("d",), {"perm": [0, 2, 1, 3]}),
        Node("reshape", ("d", "shape"), ("y",)),
    ]
    graph = graph_of(nodes, {"x": x}, ["y"], {"shape": i64(2, 16, 33)})
    agree(graph, {"x": x}, "float32")
    assert names(graph) == ("fusion_float32",) * 2


@pytest.mark.parametrize("by_channels", [False, True])
@pytest.mark.parametrize(("height", "width", "strides"), [(16, 3, [2, 1]), (5, 40, [1, 1]), (5, 40, [1, 2])])
def test_a_convolution_made_channel_by_channel_first(monkeypatch, height, width, strides, by_channels):
    """Its images and channels change places in what reads it; what it is staged in keeps the layout of its own."""
    monkeypatch.setattr(conv, "less_by_channels", lambda *given: by_channels)
    x, weight = normal(3, 4, height, width), normal(6, 2, 2, 2)
    attrs = {"strides": strides, "dilations": [1, 1], "pads": "same_upper", "group": 2}
    nodes = [
        Node("conv", ("x", "weight"), ("c",), attrs),
        Node("transpose", ("c",), ("t",), {"perm": [1, 0, 2, 3]}),
        Node("reshape", ("t", "rows"), ("r",)),
        Node("reduce", ("r",), ("y",), {"kind": "min", "axes": [1], "keepdims": False}),
    ]
    graph = graph_of(nodes, {"x": x}, ["y"], {"weight": weight, "rows": i64(6, -1)})
    agree(graph, {"x": x}, "float32")
    assert names(graph) == ("conv_panel_float32" if by_channels else "conv_float32", "reduce_extreme_float32")


def test_a_slice_of_a_scattered_tensor_reads_what_was_put_there():
    x, new = normal(4, 6), normal(4, 2)
    where = np.stack(np.meshgrid(np.arange(4), np.arange(2, 4), indexing="ij"), -1)
    nodes = [
        Node("scatter_nd", ("x", "where", "new"), ("s",), {"reduction": "none"}),
        Node("slice", ("s", "from", "to", "axis"), ("part",)),
        Node("activation", ("part",), ("y",), {"kind": "tanh"}),
    ]
    inputs = {"x": x, "new": new}
    for first, last in ((2, 4), (0, 2), (3, 5)):
        constants = {"where": where, "from": i64(first), "to": i64(last), "axis": i64(1)}
        graph = graph_of(nodes, inputs, ["y"], constants)
        agree(graph, inputs, "float32")
        assert names(graph).count("fusion_float32") == 1
        assert (len(names(graph)) == 1) == (first != 3)


def test_a_thousand_tensors_of_tensors_are_planned():
    """Each hides one element of the one before."""
    x = normal(3, 4)
    nodes, last = [], "x"
    for i in range(1000):
        nodes.append(Node("scatter_nd", (last, f"at{i % 4}", "x0"), (f"s{i}",), {"reduction": "none"}))
        last = f"s{i}"
    inputs = {"x": x, "x0": normal(3)}
    constants = {f"at{i}": np.stack([np.arange(3), np.full(3, i)], -1) for i in range(4)}
    agree(graph_of(nodes, inputs, [last], constants), inputs, "float32")
