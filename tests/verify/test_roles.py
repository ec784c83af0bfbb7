"""Batch and time are told of an input that reaches its GRU through any operator, and of what comes out after more."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fastgru.graph import Graph, Node, TensorSpec
from fastgru.reference import run_graph
from fastgru.reference.domains import Domain, find_domains
from fastgru.spec import GRUSpec
from fastgru.verify.cases import draw_cases
from fastgru.verify.check import verify_graph
from fastgru.verify.roles import AxisRoles

I, H = 4, 6
RNG = np.random.default_rng(4)


def i64(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def normal(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def graph_of(
    before: list[Node], after: list[Node], shape: tuple[int | None, ...], constants: dict[str, np.ndarray]
) -> Graph:
    """x of `shape` -> `before`, which makes a (N, T, I) -> a GRU, y -> `after`, which makes z; two inputs more."""
    spec = GRUSpec(I, H, batch_first=True)
    weights = {"w": normal(3 * H, I), "u": normal(3 * H, H)}
    gru = Node("gru", ("a", "", "lengths", "", "w", "u"), ("y", ""), {"spec": spec.to_dict()})
    return Graph(
        (TensorSpec("x", "float32", shape), TensorSpec("lengths", "int64", (None,))),
        (TensorSpec("z", "float32", None),),
        (*before, gru, *after),
        weights | constants,
    ).validate()


def node(op: str, inputs: str, outputs: str, **attrs: Any) -> Node:
    return Node(op, tuple(inputs.split()), tuple(outputs.split()), attrs)


# The shape of x, what makes a of it and z of y, their constants, and the axes that are batch and time, in x and in z.
CASES: dict[str, tuple[tuple[int | None, ...], list[Node], list[Node], dict[str, np.ndarray], str, str]] = {
    "reshape": (
        (None, None, 2, 2),
        [node("reshape", "x rows", "a")],
        [node("reshape", "y heads", "z")],
        {"rows": i64(0, 0, -1), "heads": i64(0, -1, 2, 3)},
        "NT..",
        "NT..",
    ),
    "frames that are stacked": (
        (None, None, 2),
        [node("reshape", "x pairs", "a")],
        [node("reshape", "y flat", "z")],
        {"pairs": i64(0, -1, 4), "flat": i64(-1, H)},
        "NT.",
        "..",
    ),
    "slice": (
        (None, None, I + 2),
        [node("slice", "x one end axis", "b"), node("slice", "b zero four last", "a")],
        [node("slice", "y zero end axis two", "z")],
        {"one": i64(1), "end": i64(1 << 62), "axis": i64(1), "zero": i64(0), "four": i64(I), "last": i64(-1),
         "two": i64(2)},
        "NT.",
        "NT.",
    ),
    "gather": (
        (None, None, I, 3),
        [node("gather", "x second", "a", axis=3)],
        [node("gather", "y swapped", "z", axis=2)],
        {"second": np.array(1), "swapped": i64(2, 0, 1)},
        "NT..",
        "NT.",
    ),
    "split": (
        (None, None, 2 * I),
        [node("split", "x", "a b", axis=2, parts=2)],
        [node("split", "y", "z v", axis=-1, sizes=[2, H - 2])],
        {},
        "NT.",
        "NT.",
    ),
    "expand": (
        (None, None, 1),
        [node("expand", "x wide", "a")],
        [node("unsqueeze", "y", "v", axes=[0]), node("expand", "v twice", "z")],
        {"wide": i64(1, 1, I), "twice": i64(2, 1, 1, 1)},
        "NT.",
        ".NT.",
    ),
    "matmul": (
        (None, None, 5),
        [node("matmul", "x matrix", "a")],
        [node("transpose", "y", "v", perm=[0, 2, 1]), node("matmul", "left v", "z")],
        {"matrix": normal(5, I), "left": normal(3, H)},
        "NT.",
        "N.T",
    ),
    "convolution over time": (
        (None, I, None),
        [node("conv", "x kernel", "b", strides=[1], pads=[2, 0], dilations=[1], group=1),
         node("transpose", "b", "a", perm=[0, 2, 1])],
        [node("transpose", "y", "v", perm=[0, 2, 1]),
         node("pool", "v", "z", kind="max", kernel=[2], strides=[2], pads=[1, 0], dilations=[1], ceil_mode=True)],
        {"kernel": normal(I, I, 3)},
        "N.T",
        "N.T",
    ),
    "steps that are picked": (
        (None, None, I),
        [node("unary", "x", "a", kind="neg")],
        [node("unsqueeze", "lengths", "l", axes=[1]), node("binary", "l one", "last", kind="sub"),
         node("unsqueeze", "last", "where", axes=[2]), node("expand", "where wide", "index"),
         node("binary", "index zero", "safe", kind="max"), node("gather_elements", "y safe", "v", axis=1),
         node("squeeze", "v", "z", axes=[1])],
        {"one": i64(1), "wide": i64(1, 1, H), "zero": i64(0)},
        "NT.",
        "N.",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_roles_pass_any_operator(name: str) -> None:
    shape, before, after, constants, wanted, at_the_end = CASES[name]
    graph = graph_of(before, after, shape, constants)
    roles = AxisRoles(graph)
    assert "".join(roles.role("x", i) or "." for i in range(len(wanted))) == wanted
    assert "".join(roles.role("z", i) or "." for i in range(len(at_the_end))) == at_the_end
    assert roles.role("lengths", 0) == "N"
    assert roles.group("lengths", 0) == roles.group("x", 0)
    if "frames" in name or "slice" in name:
        return  # lengths are those of the frames that are left
    assert len({case.steps for case in draw_cases(graph)}) == 3
    assert verify_graph(graph, lambda inputs: run_graph(graph, inputs, dtype="float32")).holds


def test_axes_of_one_size_are_one() -> None:
    """A state of zeros whose batch is read off the shape of x."""
    spec = GRUSpec(I, H)
    graph = Graph(
        (TensorSpec("x", "float32", (None, None, I)), TensorSpec("more", "float32", (None, H))),
        (TensorSpec("z", "float32", None),),
        (
            node("shape", "more", "sizes", start=0, end=1),
            node("concat", "one sizes units", "whole", axis=0),
            node("constant_of_shape", "whole", "h0", value=0.0, dtype="float32"),
            Node("gru", ("x", "h0", "", "", "w", "u"), ("z", ""), {"spec": spec.to_dict()}),
        ),
        {"w": normal(3 * H, I), "u": normal(3 * H, H), "one": i64(1), "units": i64(H)},
    ).validate()
    roles = AxisRoles(graph)
    assert [roles.role("x", i) for i in range(3)] == ["T", "N", None]
    assert roles.role("more", 0) == "N"


def test_domains_pass_what_only_moves_elements() -> None:
    graph = Graph(
        (TensorSpec("ids", "int32", (2, 6)), TensorSpec("at", "int64", (3,)), TensorSpec("ends", "int64", (2,))),
        (TensorSpec("y", "float32", None),),
        (
            node("cast", "ids", "wide", to="int64"),
            node("slice", "wide zero four axis", "some"),
            node("reshape", "some rows", "flat"),
            node("embedding", "flat table", "e"),
            node("gather", "e at", "picked", axis=0),
            node("reshape", "picked two", "rows2"),
            node("reverse_sequence", "rows2 ends", "y", time_axis=0, batch_axis=1),
        ),
        {"zero": i64(0), "four": i64(4), "axis": i64(1), "rows": i64(-1), "two": i64(3, 2, -1), "table": normal(9, 4)},
    )
    assert find_domains(graph) == {"ids": Domain("ids", 9), "at": Domain("ids", 8), "ends": Domain("lengths")}
