"""`fastgru quantize`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result

import fastgru
from fastgru.cli.charmodel import DATA

Invoke = Callable[..., Result]
DEMO = DATA / "demo.safetensors"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """30 calls of one letter each."""
    specs = fastgru.load_graph(DEMO).inputs
    ids = next(spec for spec in specs if spec.dtype.startswith("int"))
    letters = np.random.default_rng(0).integers(0, 60, (30, 1, 1))
    np.savez(tmp_path / "data.npz", **{ids.name: letters})
    return tmp_path / "data.npz"


def test_the_table_and_the_json_say_the_same(invoke: Invoke, data: Path) -> None:
    result = invoke("quantize", DEMO, "--data", data)
    assert result.exit_code == 0, result.output
    for text in ("the data, 30 calls", "gru", "int8", "times as fast", "of constants in float32", "No bound was given"):
        assert text in result.stdout
    report = json.loads(invoke("quantize", DEMO, "--data", data, "--json").stdout)
    assert {layer["precision"] for layer in report["layers"]} == {"int8"}
    for layer in report["layers"]:
        assert f"{layer['errors']['largest']:.1e}" in result.stdout
    assert report["bytes_after"] < 0.27 * report["bytes_before"]
    assert len(report["outputs"][0]["errors"]["by_step"]) == 30


def test_a_bound_that_is_broken_is_status_1(invoke: Invoke, data: Path) -> None:
    result = invoke("quantize", DEMO, "--data", data, "--max-error", "1e-6")
    assert result.exit_code == 1
    assert "beyond the bounds" in result.stdout
    assert "nothing is saved" in result.stdout


def test_a_bound_that_nothing_meets_says_which_would_do(invoke: Invoke, data: Path, tmp_path: Path) -> None:
    small = tmp_path / "small.safetensors"
    asked = ("quantize", DEMO, "--data", data, "-o", small, "--precision")
    for precision, fault in (("auto", "No weight can be smaller"), ("int8", "The outputs are beyond the bounds")):
        result = invoke(*asked, precision, "--max-error", "1e-6", "--min-db", "90")
        assert result.exit_code == 1
        assert f"{fault}" in result.stdout
        assert not small.exists()
        bounds = result.stdout.split("This would do: ")[1].split("\n")[0].split()
        assert bounds[::2] == ["--max-error", "--min-db"]
        assert invoke(*asked, precision, *bounds).exit_code == 0
        assert small.stat().st_size < DEMO.stat().st_size
        small.unlink()
    report = json.loads(invoke(*asked, "auto", "--max-error", "1e-6", "--json").stdout)
    assert report["is_whole"]
    assert not report["holds"]
    assert list(report["would_do"]) == ["max_error"]
    assert len(report["kept_back"]) == 8


def test_what_was_kept_back_is_a_table(invoke: Invoke, data: Path) -> None:
    asked = ("quantize", DEMO, "--data", data, "--precision", "auto", "--max-error")
    whole = json.loads(invoke(*asked, "1e-6", "--json").stdout)["kept_back"]
    between = sorted(kept["error"] for kept in whole)[3]
    result = invoke(*asked, str(between))
    assert result.exit_code == 0, result.output
    assert "kept back" in result.stdout
    report = json.loads(invoke(*asked, str(between), "--json").stdout)
    chosen = {layer["name"]: layer["precision"] for layer in report["layers"]}
    assert report["kept_back"]
    for kept in report["kept_back"]:
        assert kept["precision"] != chosen[kept["name"]]
        assert kept["bytes_saved"] > 0
        assert f"{kept['error']:.1e}" in result.stdout
    assert [kept["error"] for kept in report["kept_back"]] == sorted(kept["error"] for kept in report["kept_back"])


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "int8"])
def test_convert_writes_weights_of_a_precision(invoke: Invoke, tmp_path: Path, precision: str) -> None:
    path = tmp_path / "m.safetensors"
    assert invoke("convert", DEMO, path, "--precision", precision).exit_code == 0
    model, expected = fastgru.load(path), fastgru.load(DEMO, precision=precision)
    assert model.precision == precision
    inputs = {spec.name: np.zeros([n or 1 for n in spec.shape or ()], spec.dtype) for spec in model.inputs}
    for name, array in model.run(inputs).items():
        assert np.array_equal(array, expected.run(inputs)[name])
    refused = invoke("convert", DEMO, tmp_path / "m.onnx", "--precision", "int8")
    assert refused.exit_code == 2
    assert "an .onnx file holds floats" in refused.stderr


def test_nodes_can_be_kept(invoke: Invoke, data: Path) -> None:
    name = json.loads(invoke("quantize", DEMO, "--data", data, "--json").stdout)["layers"][1]["name"]
    report = json.loads(invoke("quantize", DEMO, "--data", data, "--keep", name, "--json").stdout)
    assert [layer["precision"] for layer in report["layers"]] == ["int8", "float32", "int8", "int8"]
    assert invoke("quantize", DEMO, "--keep", name, "--precision", "auto").exit_code == 2
    refused = invoke("quantize", DEMO, "--keep", "nobody")
    assert refused.exit_code == 2
    assert "precision of 'nobody': no node with weights has this name" in refused.stderr


def test_data_of_the_wrong_shape_is_refused(invoke: Invoke, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((3, 1, 19)))
    refused = invoke("quantize", DEMO, "--data", f"hn={tmp_path / 'x.npy'}")
    assert refused.exit_code == 2
    assert "no input is called 'hn'" in refused.stderr


def test_what_is_saved_runs_as_it_was_measured(invoke: Invoke, data: Path, tmp_path: Path) -> None:
    small, broken = tmp_path / "small.safetensors", tmp_path / "broken.safetensors"
    result = invoke("quantize", DEMO, "--data", data, "-o", small)
    assert result.exit_code == 0, result.output
    assert str(small) in result.stdout.replace("\n", "")
    assert small.stat().st_size < 0.27 * DEMO.stat().st_size
    model = fastgru.load(small)
    assert model.precision == "int8"
    assert invoke("quantize", DEMO, "-o", small).exit_code == 2
    assert invoke("quantize", DEMO, "-o", tmp_path / "small.onnx").exit_code == 2
    again = invoke("quantize", DEMO, "--data", data, "-o", small, "--force", "--json")
    assert json.loads(again.stdout)["saved"] == str(small)
    assert invoke("quantize", DEMO, "--data", data, "-o", broken, "--max-error", "1e-6").exit_code == 1
    assert not broken.exists()
    assert invoke("quantize", DEMO, "--data", data, "-o", broken, "--max-error", "1e-6", "--force").exit_code == 1
    assert broken.read_bytes() == small.read_bytes()
    shown = invoke("inspect", small)
    assert "weights of" in shown.stdout
    kept = json.loads(invoke("inspect", small, "--json").stdout)["weights"]
    assert {node["node"]: node["precision"] for node in kept} == dict(model.graph.precisions)
    parameters = [json.loads(invoke("inspect", f, "--json").stdout)["parameters"] for f in (small, DEMO)]
    assert parameters[0] == parameters[1]
    assert invoke("verify", small).exit_code == 0
    assert invoke("convert", small, tmp_path / "small.onnx").exit_code == 0
    assert (tmp_path / "small.onnx").stat().st_size > 3 * small.stat().st_size
    assert invoke("convert", small, tmp_path / "same.safetensors").exit_code == 0
    assert (tmp_path / "same.safetensors").read_bytes() == small.read_bytes()
    refused = invoke("quantize", small)
    assert refused.exit_code == 2
    assert "already quantised" in refused.stderr


def test_auto_that_makes_nothing_smaller_says_so(invoke: Invoke, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    weights = [rng.standard_normal(shape, dtype=np.float32) for shape in ((24, 5), (24, 8), (24,), (24,))]
    names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    net = fastgru.GRU.from_torch(dict(zip(names, weights, strict=True)))
    net.save(tmp_path / "small.safetensors", initial_state=True)
    result = invoke("quantize", tmp_path / "small.safetensors", "--precision", "auto")
    assert result.exit_code == 0
    assert "No weight is smaller than before" in result.stdout
