"""`fastgru.verify`: the inputs it draws, and that it sees what is wrong."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastgru.errors import ShapeError, UnsupportedModelError, VerificationError
from fastgru.graph import Graph, Node, TensorSpec
from fastgru.reference import run_graph
from fastgru.reference.domains import find_domains
from fastgru.spec import GRUSpec
from fastgru.verify.cases import draw_cases
from fastgru.verify.check import verify_graph
from fastgru.verify.roles import AxisRoles
from fastgru.verify.runtimes import Runtime

I, H, V = 5, 6, 11


def gru_weights(rng: np.random.Generator, input_size: int, prefix: str = "") -> dict[str, np.ndarray]:
    shapes = {"w": (3 * H, input_size), "u": (3 * H, H), "b": (3 * H,), "c": (3 * H,)}
    return {prefix + k: (0.5 * rng.standard_normal(s)).astype(np.float32) for k, s in shapes.items()}


def char_graph(*, named: bool = True, batch_first: bool = True) -> Graph:
    """ids -> embedding -> gru with a state -> linear."""
    rng = np.random.default_rng(1)
    constants = gru_weights(rng, I) | {
        "table": rng.standard_normal((V, I)).astype(np.float32),
        "head": rng.standard_normal((4, H)).astype(np.float32),
    }
    spec = GRUSpec(I, H, batch_first=batch_first)
    ids_dims = (("N", "T") if batch_first else ("T", "N")) if named else ()
    state_dims = (None, "N", None) if named else ()
    return Graph(
        inputs=(
            TensorSpec("ids", "int64", (None, None), ids_dims),
            TensorSpec("h0", "float32", (1, None, H), state_dims),
        ),
        outputs=(TensorSpec("y", "float32", (None, None, 4)), TensorSpec("hn", "float32", (1, None, H))),
        nodes=(
            Node("embedding", ("ids", "table"), ("x",)),
            Node("gru", ("x", "h0", "", "", "w", "u", "b", "c"), ("a", "hn"), {"spec": spec.to_dict()}),
            Node("linear", ("a", "head"), ("y",)),
        ),
        constants=constants,
        states={"h0": "hn"},
    ).validate()


def lengths_graph() -> Graph:
    """x and lengths -> bidirectional gru -> the last step of each row."""
    rng = np.random.default_rng(2)
    spec = GRUSpec(I, H, direction="bidirectional", batch_first=True)
    names = ("w", "u", "b", "c", "rw", "ru", "rb", "rc")
    return Graph(
        inputs=(TensorSpec("x", "float32", (None, None, I)), TensorSpec("lengths", "int64", (None,))),
        outputs=(TensorSpec("z", "float32", (None, 2 * H)),),
        nodes=(
            Node("gru", ("x", "", "lengths", "", *names), ("y", ""), {"spec": spec.to_dict()}),
            Node("last", ("y", "lengths"), ("z",)),
        ),
        constants=gru_weights(rng, I) | gru_weights(rng, I, "r"),
    ).validate()


def honest(graph: Graph, dtype: str = "float32") -> Any:
    return lambda inputs: run_graph(graph, inputs, dtype=dtype)


GRAPHS = {
    "char": char_graph(),
    "char, unnamed": char_graph(named=False),
    "char, time first": char_graph(named=False, batch_first=False),
    "lengths": lengths_graph(),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_the_definition_in_float32_holds(name: str) -> None:
    report = verify_graph(GRAPHS[name], honest(GRAPHS[name]))
    assert report.holds, report
    assert {check.output for check in report.checks} == {spec.name for spec in GRAPHS[name].outputs}
    # Float32 cannot be exact: a report of no error at all would mean that nothing was compared.
    assert all(0 < check.max_abs < 1e-5 for check in report.checks)
    assert len(set(report.cases)) == len(report.cases) == 3


@pytest.mark.parametrize("name", GRAPHS)
def test_zeros_never_hold(name: str) -> None:
    graph = GRAPHS[name]

    def zeros(inputs: Mapping[str, Any]) -> dict[str, np.ndarray]:
        return {k: np.zeros_like(a) for k, a in run_graph(graph, inputs).items()}

    for precision in ("float64", "float32", "bfloat16", "int8"):
        report = verify_graph(graph, zeros, precision=precision)
        assert not any(check.holds for check in report.checks), report
    with pytest.raises(VerificationError, match="against definition"):
        report.raise_for_failure()


@settings(deadline=None, max_examples=20)
@given(scale=st.floats(1e-6, 1e3))  # below, an output is no larger than float32 rounding of what made it
def test_zeros_never_hold_however_small_the_outputs(scale: float) -> None:
    graph = Graph(
        inputs=(TensorSpec("x", "float32", (2, 3)),),
        outputs=(TensorSpec("y", "float32", (2, 3)),),
        nodes=(Node("binary", ("x", "scale"), ("y",), {"kind": "mul"}),),
        constants={"scale": np.array(scale)},
    )
    assert verify_graph(graph, honest(graph)).holds
    assert not verify_graph(graph, lambda x: {"y": np.zeros((2, 3))}).holds


def test_the_step_of_an_error_is_found() -> None:
    graph = GRAPHS["char"]

    def wrong_at_20(inputs: Mapping[str, Any]) -> dict[str, np.ndarray]:
        outputs = {k: a.copy() for k, a in run_graph(graph, inputs).items()}
        if outputs["y"].shape[1] == 33:
            outputs["y"][0, 20, 1] += 0.25
        return outputs

    checks = {check.output: check for check in verify_graph(graph, wrong_at_20).checks}
    assert checks["hn"].holds
    assert not checks["y"].holds
    assert checks["y"].step == 20
    assert "T=33" in checks["y"].where
    assert checks["y"].max_abs == pytest.approx(0.25)
    # Four calls of 33 steps in a row, each of them wrong at its step 20.
    assert len(checks["y"].by_step) == 4 * 33
    assert [t for t, e in enumerate(checks["y"].by_step) if e > 0.2] == [20, 53, 86, 119]


def test_a_state_that_is_not_carried_is_found() -> None:
    graph = GRAPHS["char"]
    report = verify_graph(graph, lambda x: run_graph(graph, {**x, "h0": np.zeros_like(x["h0"])}))
    assert not report.holds


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_nan_never_holds(value: float) -> None:
    graph = GRAPHS["lengths"]

    def poisoned(inputs: Mapping[str, Any]) -> dict[str, np.ndarray]:
        outputs = {k: a.copy() for k, a in run_graph(graph, inputs).items()}
        outputs["z"].flat[-1] = value
        return outputs

    report = verify_graph(graph, poisoned)
    assert not report.holds
    assert json.loads(json.dumps(report.to_dict(), allow_nan=False))["checks"][0]["max_abs"] == "inf"


def test_another_shape_never_holds() -> None:
    graph = GRAPHS["lengths"]
    assert not verify_graph(graph, lambda x: {"z": run_graph(graph, x)["z"][..., :1]}).holds


def test_integers_must_be_equal() -> None:
    graph = Graph(
        inputs=(TensorSpec("x", "float32", (None, 7)),),
        outputs=(TensorSpec("best", "int64", (None, 1)),),
        nodes=(Node("arg", ("x",), ("best",), {"kind": "max", "axis": 1, "keepdims": True, "select_last": False}),),
    )
    assert verify_graph(graph, honest(graph)).holds
    assert not verify_graph(graph, lambda x: {"best": run_graph(graph, x)["best"] + 1}).holds


def test_a_runtime_is_an_opponent_and_a_failing_one_is_reported() -> None:
    graph = GRAPHS["lengths"]

    def strict(inputs: Mapping[str, Any]) -> dict[str, np.ndarray]:
        # What a zero length means is where runtimes differ: they must not be asked.
        assert inputs["lengths"].min() > 0
        return run_graph(graph, inputs, dtype="float32")

    def refuses(inputs: Mapping[str, Any]) -> dict[str, np.ndarray]:
        raise RuntimeError("no such kernel")

    report = verify_graph(graph, honest(graph), opponents=[Runtime("strict 1", strict), Runtime("refuses 2", refuses)])
    assert report.holds
    assert {check.against for check in report.checks} == {"definition", "strict 1"}
    assert report.skipped == (("refuses 2", "it does not run these inputs: no such kernel"),)
    assert "refuses 2 not compared" in str(report)


def test_drawn_inputs_mean_something() -> None:
    for name in ("char", "char, unnamed", "char, time first"):
        cases = draw_cases(GRAPHS[name])
        ids = np.concatenate([call["ids"].ravel() for case in cases for call in case.calls])
        assert ids.min() == 0
        assert ids.max() == V - 1
        axes = (0, 1) if name != "char, time first" else (1, 0)
        assert {tuple(c.calls[0]["ids"].shape[a] for a in axes) for c in cases} == {(1, 1), (3, 7), (2, 33)}
        assert all("h0" in case.calls[0] and "h0" not in case.calls[1] for case in cases)
    lengths = [case.calls[0]["lengths"] for case in draw_cases(GRAPHS["lengths"])]
    assert [int(a.max()) for a in lengths] == [1, 7, 33]
    assert [int(a.min()) == 0 for a in lengths] == [False, True, False]


def test_a_graph_that_fixes_every_size_is_one_case() -> None:
    dynamic = GRAPHS["char"]
    specs = {spec.name: spec for spec in dynamic.inputs}
    inputs = (replace(specs["ids"], shape=(2, 1)), replace(specs["h0"], shape=(1, 2, H)))
    report = verify_graph(static := replace(dynamic, inputs=inputs).validate(), honest(static))
    assert report.holds
    assert report.cases == ("fixed shapes, 12 calls",)
    assert verify_graph(dynamic, honest(dynamic)).cases == (
        "N=1, T=1, 12 calls",
        "N=3, T=7, 4 calls",
        "N=2, T=33, 4 calls",
    )


def test_fixed_sizes_with_lengths_are_drawn_with_a_zero_and_without() -> None:
    dynamic = GRAPHS["lengths"]
    x, lengths = dynamic.inputs
    static = replace(dynamic, inputs=(replace(x, shape=(4, 6, I)), replace(lengths, shape=(4,)))).validate()
    cases = draw_cases(static)
    assert [(case.label, case.agreed) for case in cases] == [
        ("fixed shapes", True),
        ("fixed shapes, a length of 0", False),
    ]
    assert [int(case.calls[0]["lengths"].min()) == 0 for case in cases] == [False, True]


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(ShapeError, match="seed is -1, expected an integer of at least 0"):
        draw_cases(GRAPHS["char"], seed=-1)


def test_the_same_seed_draws_the_same() -> None:
    first, second, other = (draw_cases(GRAPHS["char"], seed=s)[1].calls[0]["h0"] for s in (3, 3, 4))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)


def test_roles_are_followed_through_the_operators() -> None:
    spec = GRUSpec(I, H)
    rng = np.random.default_rng(0)
    graph = Graph(
        inputs=(TensorSpec("x", "float32", (None, None, I)), TensorSpec("keep", "bool", (None, None))),
        outputs=(TensorSpec("y", "float32", None),),
        nodes=(
            Node("activation", ("x",), ("a",), {"kind": "tanh", "alpha": 0.0, "beta": 0.0}),
            Node("transpose", ("a",), ("s",), {"perm": [1, 0, 2]}),
            Node("transpose", ("keep",), ("m",), {"perm": [1, 0]}),
            Node("gru", ("s", "", "", "m", "w", "u", "b", "c"), ("g", ""), {"spec": spec.to_dict()}),
            Node("transpose", ("g",), ("c0",), {"perm": [1, 2, 0]}),
            Node("unsqueeze", ("c0",), ("d",), {"axes": [0]}),
            Node("squeeze", ("d",), ("y",), {"axes": [0]}),
        ),
        constants=gru_weights(rng, I),
    )
    roles = AxisRoles(graph)
    assert [roles.role("x", i) for i in range(3)] == ["N", "T", None]
    assert roles.axis_of("y", "T") == 2
    assert roles.axis_of("y", "N") == 0
    assert roles.group("x", 0) == roles.group("keep", 0) != roles.group("x", 1)
    assert find_domains(graph)["keep"].kind == "mask"
    assert verify_graph(graph.validate(), honest(graph)).holds


def test_inputs_can_be_given() -> None:
    graph = GRAPHS["char"]
    inputs = {"ids": np.array([[1, 2, 3]]), "h0": np.zeros((1, 1, H), np.float32)}
    report = verify_graph(graph, honest(graph), inputs=inputs)
    assert report.holds
    assert len(report.checks[0].by_step) == 3
    with pytest.raises(ShapeError, match="missing"):
        verify_graph(graph, honest(graph), inputs={"ids": inputs["ids"]})


def test_what_makes_no_sense_is_refused() -> None:
    graph = GRAPHS["char"]
    with pytest.raises(UnsupportedModelError, match="float8"):
        verify_graph(graph, honest(graph), precision="float8")
    with pytest.raises(ShapeError, match="tol"):
        verify_graph(graph, honest(graph), tol=0.0)
    no_shape = Graph((TensorSpec("x", "float32", None),), (TensorSpec("x", "float32", None),), ())
    with pytest.raises(ShapeError, match="x have no shape in the file: pass arrays"):
        draw_cases(no_shape)


def test_a_network_that_amplifies_rounding_is_given_room_for_it_and_no_more() -> None:
    graph = Graph(
        inputs=(TensorSpec("x", "float32", (4, 3)),),
        outputs=(TensorSpec("y", "float32", (4, 3)),),
        nodes=(
            Node("binary", ("x", "large"), ("a",), {"kind": "add"}),
            Node("binary", ("a", "large"), ("y",), {"kind": "sub"}),
        ),
        constants={"large": np.array(1000.0)},
    )
    report = verify_graph(graph, honest(graph))
    assert report.holds
    assert report.checks[0].max_abs > 1e-5
    assert not verify_graph(graph, honest(graph), tol=1e-5).holds
    assert not verify_graph(graph, lambda x: {"y": run_graph(graph, x)["y"] + 1e-3}).holds
    assert not verify_graph(graph, honest(graph), precision="float64").holds


def test_nothing_but_nan_never_holds() -> None:
    x = TensorSpec("x", "float32", (None, 3))
    graph = Graph(
        inputs=(x,), outputs=(replace(x, name="y"),), nodes=(Node("unary", ("x",), ("y",), {"kind": "log"}),)
    ).validate()
    below = {"x": np.full((2, 3), -1.0, np.float32)}
    report = verify_graph(graph, honest(graph), inputs=below)
    assert not report.holds
    assert [check.is_compared for check in report.checks] == [False]
    with pytest.raises(VerificationError, match="no expected number is finite"):
        report.raise_for_failure()
    below["x"][1, 1] = 1.0
    assert verify_graph(graph, honest(graph), inputs=below).holds
    assert verify_graph(graph, honest(graph), inputs={"x": np.zeros((0, 3), np.float32)}).holds
