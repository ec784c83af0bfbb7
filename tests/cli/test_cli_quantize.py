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
    held = invoke("quantize", DEMO, "--data", data, "--max-error", "1e-6", "--precision", "auto")
    assert held.exit_code == 0
    assert "4 nodes of 4 left in float32" in held.stdout
    assert "within the bounds" in held.stdout


def test_nodes_can_be_kept(invoke: Invoke, data: Path) -> None:
    name = json.loads(invoke("quantize", DEMO, "--data", data, "--json").stdout)["layers"][1]["name"]
    report = json.loads(invoke("quantize", DEMO, "--data", data, "--keep", name, "--json").stdout)
    assert [layer["precision"] for layer in report["layers"]] == ["int8", "float32", "int8", "int8"]
    assert invoke("quantize", DEMO, "--keep", name, "--precision", "auto").exit_code == 2
    refused = invoke("quantize", DEMO, "--keep", "nobody")
    assert refused.exit_code == 2
    assert "precision of 'nobody': no node with weights is called so" in refused.stderr


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
    assert "quantised already" in refused.stderr
