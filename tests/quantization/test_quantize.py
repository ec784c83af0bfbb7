"""Weights of low precision measured and chosen, on networks made here and on those of others."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest

import fastgru
from fastgru.cli.charmodel import DATA
from fastgru.errors import ShapeError, UnsupportedModelError, VerificationError
from fastgru.graph import Graph, Node, TensorSpec
from fastgru.spec import GRUSpec, LSTMSpec

DEMO = DATA / "demo.safetensors"


def normal(seed, *shape):
    return np.random.default_rng(seed).uniform(-0.2, 0.2, shape).astype(np.float32)


def network(states=True):
    """x (T, N, 20) -> a GRU of 96 units -> y (T, N, 64) and z (T, N, 3), with the state h0 -> h_n."""
    weights = {"w": (288, 20), "r": (288, 96), "b": (288,), "wy": (64, 96), "by": (64,), "wz": (3, 96)}
    node = Node("gru", ("x", "h0", "", "", "w", "r", "b", ""), ("h", "hn"), {"spec": GRUSpec(20, 96).to_dict()}, "cell")
    head, side = Node("linear", ("h", "wy", "by"), ("y",), {}, "head"), Node("linear", ("h", "wz"), ("z",), {}, "side")
    return Graph(
        (TensorSpec("x", "float32", (None, None, 20), ("T", "N", None)), TensorSpec("h0", "float32", (1, None, 96))),
        (TensorSpec("y", "float32", None), TensorSpec("z", "float32", None), TensorSpec("hn", "float32", None)),
        (node, head, side),
        {name: normal(i, *shape) for i, (name, shape) in enumerate(weights.items())},
        {"h0": "hn"} if states else {},
    )


@pytest.mark.parametrize("precision", ["int8", "bfloat16"])
def test_the_report_says_what_the_model_does(precision):
    graph = network()
    x, h0 = normal(9, 40, 2, 20), np.zeros((1, 2, 96), np.float32)
    report = fastgru.quantize(graph, precision=precision, data={"x": x, "h0": h0})
    assert report.model.precision == precision
    wanted = fastgru.Model(graph).run({"x": x, "h0": h0})
    got = report.model.run({"x": x, "h0": h0})
    small = fastgru.Model(graph, precision=precision).run({"x": x, "h0": h0})
    for output in report.outputs:
        np.testing.assert_array_equal(got[output.name], small[output.name])
        d = np.abs(got[output.name].astype(np.float64) - wanted[output.name])
        assert output.errors.largest == d.max() > 0
        assert output.errors.mean == pytest.approx(d.mean())
        assert output.errors.scale == np.abs(wanted[output.name]).max()
        assert output.errors.db == pytest.approx(10 * np.log10(np.square(wanted[output.name]).sum() / (d**2).sum()))
    by_step = np.abs(got["y"].astype(np.float64) - wanted["y"]).max(axis=(1, 2))
    np.testing.assert_allclose(report.outputs[0].errors.by_step, by_step)
    assert [o.counts for o in report.outputs] == [True, True, False]
    cell, head, side = report.layers
    assert (cell.name, cell.op, cell.shape, cell.precision, cell.why) == ("h", "gru", (288, 96), precision, "")
    assert (side.precision, side.why, side.errors.largest) == (precision, "", report.outputs[1].errors.largest)
    assert cell.bytes_before == 4 * 288 * 116
    assert cell.bytes_after == {"int8": 288 * 116 + 2 * 4 * 288, "bfloat16": 2 * 288 * 116}[precision]
    assert report.kept == ()
    kept = fastgru.quantize(graph, precision={"*": precision, "z": "float32"}, data={"x": x, "h0": h0})
    assert [(layer.name, layer.alone, layer.why) for layer in kept.kept] == [("z", None, "")]
    assert report.bytes_before - report.bytes_after == sum(l.bytes_before - l.bytes_after for l in report.layers)
    assert 0 < head.alone < report.outputs[0].errors.relative


def test_states_go_from_call_to_call():
    graph = network()
    x = normal(3, 30, 1, 20)
    whole = fastgru.quantize(graph, data={"x": x})
    frames = fastgru.quantize(graph, data={"x": x[:, None]})
    listed = fastgru.quantize(graph, data=[{"x": frame[None]} for frame in x])
    for other in (frames, listed):
        assert other.cases == ("the data, 30 calls",)
        assert other.outputs[0].errors.by_step == whole.outputs[0].errors.by_step
        assert other.outputs[0].errors.largest == whole.outputs[0].errors.largest
    anew = fastgru.quantize(network(states=False), data={"x": x[:, None], "h0": np.zeros((1, 1, 96), np.float32)})
    assert anew.outputs[0].errors.by_step[0] == whole.outputs[0].errors.by_step[0]
    assert anew.outputs[0].errors.by_step != whole.outputs[0].errors.by_step


def test_random_inputs_include_a_long_run():
    report = fastgru.quantize(network(), max_error=0.05)
    assert report.cases[-1] == "N=1, T=250, 4 calls"
    errors = report.outputs[0].errors
    assert len(errors.by_step) == 1000
    assert 0.5 < errors.drift < 2
    assert report.holds
    assert [t.label for t in report.timings] == list(report.cases)
    assert all(t.before_s > 0 < t.after_s for t in report.timings)


def test_auto_leaves_what_the_bound_needs():
    graph, x = network(), {"x": normal(1, 50, 1, 20)}
    free = fastgru.quantize(graph, precision="auto", data=x, max_error=1)
    assert [layer.precision for layer in free.layers] == ["int8", "int8", "float32"]
    assert free.layers[2].why == "3 outputs are faster in float32: int8 pays from 32"
    errors = {p: fastgru.quantize(graph, precision=p, data=x) for p in ("int8", "bfloat16")}
    between = max(o.errors.relative for o in errors["bfloat16"].outputs if o.counts) * 1.001
    mixed = fastgru.quantize(graph, precision="auto", data=x, max_error=between)
    assert mixed.holds
    assert "bfloat16" in {layer.precision for layer in mixed.layers}
    assert mixed.model.precision == "mixed"
    left = [layer for layer in mixed.layers if layer.precision != "int8"]
    assert "int8 exceeds the bound" in {layer.why for layer in left}
    got, said = mixed.model.run({"x": x["x"], "h0": np.zeros((1, 1, 96), np.float32)}), mixed.outputs[0].errors
    exact = fastgru.Model(graph).run({"x": x["x"], "h0": np.zeros((1, 1, 96), np.float32)})
    assert np.abs(got["y"].astype(np.float64) - exact["y"]).max() == said.largest
    none = fastgru.quantize(graph, precision="auto", data=x, min_db=300)
    assert {layer.precision for layer in none.layers} == {"float32"}
    assert not none.holds
    assert none.is_whole
    with pytest.raises(VerificationError, match=r"no weight can be smaller within the bounds; min_db = \d"):
        none.raise_for_failure()
    some = fastgru.quantize(graph, precision="auto", data=x, **none.would_do)
    assert some.holds
    assert {layer.precision for layer in some.layers} > {"float32"}
    assert {(kept.name, kept.precision) for kept in some.kept_back} < {(k.name, k.precision) for k in none.kept_back}
    assert none.outputs[0].errors.db == math.inf
    assert fastgru.quantize(graph, precision="auto", data=x).max_error == 0.02


def test_a_bound_that_does_not_hold():
    report = fastgru.quantize(network(), data={"x": normal(1, 5, 1, 20)}, max_error=1e-9)
    assert not report.holds
    with pytest.raises(VerificationError, match=r"beyond the bounds in int8: y: .*; z: "):
        report.raise_for_failure()
    assert "beyond the bound" in str(report)
    data = json.loads(json.dumps(report.to_dict()))
    assert data["holds"] is False
    assert data["layers"][0]["errors"]["relative"] == report.layers[0].errors.relative
    assert set(data) == {f.name for f in dataclasses.fields(report)} - {"model"} | {"holds", "is_whole"}


def kept(model):
    return {name: chosen.precision for name, chosen in model.weight_precisions.items()}


def test_single_nodes_by_name_or_output():
    graph, x = network(), normal(2, 7, 1, 20)
    h0 = np.zeros((1, 1, 96), np.float32)
    report = fastgru.quantize(graph, precision={"cell": "int8", "z": "bfloat16"}, data={"x": x})
    assert [layer.precision for layer in report.layers] == ["int8", "float32", "bfloat16"]
    model = fastgru.Model(graph, precision={"hn": "int8", "side": "bfloat16"})
    assert {n: p.precision for n, p in model.weight_precisions.items()} == {
        "h": "int8",
        "y": "float32",
        "z": "bfloat16",
    }
    for name, array in model.run({"x": x, "h0": h0}).items():
        np.testing.assert_array_equal(array, report.model.run({"x": x, "h0": h0})[name])
    others = fastgru.Model(graph, precision={"*": "int8", "head": "float32"})
    assert {n: p.precision for n, p in others.weight_precisions.items()} == {
        "h": "int8",
        "y": "float32",
        "z": "int8",
    }
    for fault, precision in (
        ("no node with weights has this name; expected one of", {"nobody": "int8"}),
        ("float64 in a model that computes in float32", {"cell": "float64"}),
        ("'int4' is not supported", {"cell": "int4"}),
    ):
        with pytest.raises(UnsupportedModelError, match=fault):
            fastgru.Model(graph, precision=precision)


def test_a_name_of_two_nodes_is_refused():
    graph = network()
    twins = dataclasses.replace(graph, nodes=tuple(dataclasses.replace(n, name="twin") for n in graph.nodes))
    with pytest.raises(UnsupportedModelError, match="3 nodes have this name"):
        fastgru.Model(twins, precision={"twin": "int8"})
    assert fastgru.Model(twins, precision={"y": "int8"}).weight_precisions["y"].precision == "int8"


def test_an_lstm_keeps_its_weights_and_says_so():
    shapes = {"w": (256, 8), "r": (256, 64)}
    node = Node("lstm", ("x", "", "", "", "", "w", "r", "", ""), ("y",), {"spec": LSTMSpec(8, 64).to_dict()})
    graph = Graph(
        (TensorSpec("x", "float32", (None, None, 8)),), (TensorSpec("y", "float32", None),), (node,),
        {name: normal(1, *shape) for name, shape in shapes.items()},
    )  # fmt: skip
    report = fastgru.quantize(graph, data={"x": normal(0, 3, 1, 8)})
    assert report.layers[0].precision == "float32"
    assert "no kernels for an LSTM with weights of low precision" in report.layers[0].why
    with pytest.raises(UnsupportedModelError, match="no kernels for an LSTM"):
        fastgru.Model(graph, precision={"y": "int8"})


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"precision": "float32"}, UnsupportedModelError, "precision is float32, expected one of bfloat16, int8, auto"),
        ({"precision": {"cell": "auto"}}, UnsupportedModelError, '"auto" is for a whole model'),
        ({"precision": {"*": "auto", "cell": "int8"}}, UnsupportedModelError, '"auto" is for a whole model'),
        ({"max_error": 0}, ShapeError, "max_error is 0, expected a positive number"),
        ({"max_error": math.nan}, ShapeError, "max_error is nan"),
        ({"min_db": math.nan}, ShapeError, "min_db is nan"),
        ({"outputs": ["y"]}, UnsupportedModelError, "outputs: these options are for reading a file"),
        ({"data": {"y": [1.0]}}, ShapeError, "no input is called y; expected one of x, h0"),
        ({"data": {"h0": [1.0]}}, ShapeError, "the arrays for input x are missing"),
        ({"data": []}, ShapeError, "got no calls"),
        ({"data": [3]}, ShapeError, "got int, expected arrays by input name"),
        ({"data": {"x": np.zeros((2, 1, 19))}}, ShapeError, "input 'x': got shape"),
        (
            {"data": {"x": np.zeros((4, 2, 1, 20)), "h0": np.zeros((3, 1, 1, 96))}},
            ShapeError,
            "expected the same number",
        ),
    ],
)
def test_what_is_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        fastgru.quantize(network(), **arguments)


def test_a_model_and_a_file_give_the_same_report():
    x = {"ids": np.arange(40).reshape(40, 1) % 60}
    file, model = fastgru.quantize(DEMO, data=_named(x)), fastgru.quantize(fastgru.load(DEMO), data=_named(x))
    assert file.source == "demo.safetensors"
    assert [dataclasses.replace(o) for o in file.outputs] == list(model.outputs)
    assert file.layers == model.layers


def _named(arrays):
    names = [spec.name for spec in fastgru.load_graph(DEMO).inputs if spec.dtype.startswith("int")]
    return dict(zip(names, arrays.values(), strict=True))


@pytest.mark.parametrize("precision", ["int8", "auto"])
@pytest.mark.parametrize("x", [np.full((3, 1, 20), np.nan, np.float32), np.zeros((0, 1, 20), np.float32)])
def test_data_without_a_finite_number_measures_nothing(precision: str, x: np.ndarray) -> None:
    with pytest.raises(ShapeError, match="no number of the output y, z is finite in float32"):
        fastgru.quantize(network(), precision=precision, data={"x": x}, max_error=1)
