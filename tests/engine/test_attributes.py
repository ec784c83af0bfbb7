"""Attributes of a wrong kind are refused by name, before anything runs, whatever the operator."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
import pytest
from engine_cases import CASES, Case
from hypothesis import given
from hypothesis import strategies as st

from fastgru.engine import Executable
from fastgru.errors import InvalidModelError, UnsupportedModelError
from fastgru.graph import Graph, Node, TensorSpec
from fastgru.reference import OPS, check_node
from fastgru.spec import GRUSpec, LSTMSpec, RNNSpec

REFUSED = (InvalidModelError, UnsupportedModelError)
EVERY = {case.op: case for cases in CASES.values() for case in cases if case.attrs}
MORE = {
    "constant_of_shape": {"value": 0, "dtype": "float32"},
    "split": {"axis": 0, "sizes": [1, 2]},
    "shape": {"start": 0, "end": 1},
    "gru": {"spec": GRUSpec(2, 3).to_dict()},
    "lstm": {"spec": LSTMSpec(2, 3).to_dict()},
    "rnn": {"spec": RNNSpec(2, 3).to_dict()},
}
ATTRS = {**{op: dict(case.attrs) for op, case in EVERY.items()}, **MORE}
PAIRS = [(op, name) for op, attrs in ATTRS.items() for name in attrs]


def node(op: str, attrs: dict[str, Any]) -> Node:
    given = tuple(f"x{i}" for i in range(len(OPS[op].schema.required_inputs)))
    return Node(op, given, ("y",), attrs, "here")


def wrong(value: Any) -> list[Any]:
    """Values of other kinds than `value`, an attribute's."""
    if isinstance(value, bool):
        return [0, 1, 1.0, "true", None, [True]]
    if isinstance(value, int):
        return [value + 0.5, float(value), str(value), True, [value], 10**30, -(10**30), float("nan"), {}]
    if isinstance(value, float):
        return [str(value), True, [value], {}, 10**400]
    if isinstance(value, str):
        return [value + "?", 1, [value], {value: 1}]
    if isinstance(value, list | tuple) and value:
        return [[bad, *value[1:]] for bad in wrong(value[0]) if bad is not None] + [{"0": 1}, "text", 3, None]
    return [3, "text", 1.5]


def test_the_cases_have_every_attribute_that_must_be_given() -> None:
    assert {op for op, operator in OPS.items() if operator.schema.required_attrs} <= set(ATTRS)


@pytest.mark.parametrize("op", ATTRS)
def test_what_the_cases_give_is_taken(op: str) -> None:
    check_node(node(op, ATTRS[op]))


@pytest.mark.parametrize(("op", "name"), PAIRS)
def test_a_wrong_kind_is_refused_by_name(op: str, name: str) -> None:
    optional = name in OPS[op].schema.optional_attrs
    for value in wrong(ATTRS[op][name]):
        if value is None and optional:
            continue
        if op == "constant_of_shape" and name == "value" and isinstance(value, bool | float):
            continue  # any number goes into a float
        with pytest.raises(REFUSED, match=rf"'here': .*{name}") as caught:
            check_node(node(op, {**ATTRS[op], name: value}))
        assert len(str(caught.value)) < 2000


@pytest.mark.parametrize("op", ATTRS)
def test_the_engine_refuses_it_when_it_is_made(op: str) -> None:
    case = EVERY.get(op, Case(op, (np.ones((2, 3), np.float32),) * len(OPS[op].schema.required_inputs)))
    for name, value in ATTRS[op].items():
        if value == 0 and op == "constant_of_shape":
            continue
        graph = Case(op, case.inputs, {**ATTRS[op], name: wrong(value)[0]}).graph()[0]
        with pytest.raises(REFUSED, match=name):
            Executable(graph)


@given(st.sampled_from(PAIRS), st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2), max_leaves=6,
))  # fmt: skip
def test_nothing_but_an_error_of_the_tree(pair: tuple[str, str], value: Any) -> None:
    op, name = pair
    with contextlib.suppress(*REFUSED):
        check_node(node(op, {**ATTRS[op], name: value}))


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (Node("softmax", ("x",), ("y", "z"), {"axis": 0}), r"got 2 outputs, expected 1$"),
        (Node("softmax", ("x",), (), {"axis": 0}), "got 0 outputs"),
        (Node("concat", ("x", ""), ("y",), {"axis": 0}), "one of the inputs others is missing"),
        (
            Node("pool", ("x",), ("y",), {
                "kind": "max", "kernel": [2], "strides": [1, 1], "pads": [0, 0, 0, 0], "dilations": [1, 1],
            }),
            "kernel has 1 entries, expected 2",
        ),
        (
            Node("conv", ("x", "w"), ("y",), {
                "strides": [1], "pads": [0, 0], "dilations": [1], "group": 1, "clamp": [float("nan"), 1.0],
            }),
            "clamp: got",
        ),
        (Node("constant_of_shape", ("x",), ("y",), {"value": 0.5, "dtype": "int64"}), "0.5, which does not fit int64"),
        (Node("constant_of_shape", ("x",), ("y",), {"value": 256, "dtype": "uint8"}), "256, which does not fit uint8"),
        (Node("activation", ("x",), ("y",), {"kind": "elu", "alpha": float("inf")}), "must be finite"),
        (Node("gru", ("x",), ("y",), {"spec": {"input_size": 1.5, "hidden_size": 2}}), "input_size is 1.5"),
    ],
)  # fmt: skip
def test_attributes_that_contradict_each_other(bad: Node, said: str) -> None:
    with pytest.raises(InvalidModelError, match=said):
        check_node(bad)


@pytest.mark.parametrize(
    ("shape", "dims"), [((1.0,), ()), ((True,), ()), ((-1,), ()), ((2,), ("a", "b")), ((2,), (3,)), (None, ("a",))]
)
def test_a_shape_is_of_sizes(shape: Any, dims: Any) -> None:
    with pytest.raises(InvalidModelError, match="'x'"):
        TensorSpec("x", "float32", shape, dims)


def test_a_graph_in_python_is_checked_like_a_file() -> None:
    x = TensorSpec("x", "float32", (2, 3))
    graph = Graph((x,), (TensorSpec("y", "float32", None),), (Node("softmax", ("x",), ("y",), {"axis": np.int64(1)}),))
    with pytest.raises(InvalidModelError, match=r"attribute axis: got np\.int64"):
        Executable(graph)
