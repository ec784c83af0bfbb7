"""`fastgru verify`, on files and against the frameworks that are installed."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result

from fastgru.cli.charmodel import DATA
from fastgru.load import load
from fastgru.precisions import AUTO, WEIGHT_BYTES
from fastgru.verify import verify

Invoke = Callable[..., Result]


def test_a_model_holds(invoke: Invoke, gru_onnx: Path) -> None:
    result = invoke("verify", gru_onnx)
    assert result.exit_code == 0, result.output
    assert "Every output holds." in result.stdout
    report = json.loads(invoke("verify", gru_onnx, "--json").stdout)
    opponents = {check["against"].split()[0] for check in report["checks"]}
    assert opponents == {"definition", *(["onnxruntime"] if find_spec("onnxruntime") else [])}
    assert report["holds"] is True
    assert {check["output"] for check in report["checks"]} == {"Y", "Y_h"}


def test_a_tolerance_that_float32_cannot_keep_is_status_1(invoke: Invoke, gru_onnx: Path) -> None:
    result = invoke("verify", gru_onnx, "--tol", "1e-12")
    assert result.exit_code == 1
    assert "FAILS" in result.stdout
    assert "The outputs do not hold." in result.stdout
    assert invoke("verify", gru_onnx, "--tol", "1e-12", "--precision", "float64", "--no-runtimes").exit_code == 0


@pytest.mark.parametrize("asked", AUTO)
def test_auto_is_held_to_what_it_comes_to(asked: str) -> None:
    file = DATA / "demo.safetensors"
    chosen = {each.precision for each in load(file, precision=asked).weight_precisions.values()}
    roughest = min(chosen, key=lambda precision: WEIGHT_BYTES[precision])
    inputs = {"tokens": np.arange(12).reshape(1, 12), "h0": np.zeros((2, 1, 192), np.float32)}
    report = verify(file, precision=asked, inputs=inputs, runtimes=False)
    assert report.precision == roughest
    if len(chosen) == 1:
        assert report.checks == verify(file, precision=roughest, inputs=inputs, runtimes=False).checks


def test_the_shipped_model_holds(invoke: Invoke) -> None:
    report = json.loads(invoke("verify", DATA / "demo.safetensors", "--json").stdout)
    assert report["holds"] is True
    assert {len(check["by_step"]) for check in report["checks"]} >= {132}


def test_every_gru_of_a_state_dict_is_verified(invoke: Invoke, state_npz: Path) -> None:
    result = invoke("verify", state_npz, "--json")
    report = json.loads(result.stdout)
    assert result.exit_code == 0, result.output
    assert {check["output"] for check in report["checks"]} >= {"rnn: y", "rnn: h_n_0", "rnn: h_n_1"}
    compared = {check["against"].split()[0] for check in report["checks"]}
    assert compared == ({"definition", "torch"} if find_spec("torch") else {"definition"})
    assert report["skipped"] == ([] if find_spec("torch") else [["torch", "not installed"]])


def test_inputs_can_be_given(invoke: Invoke, gru_onnx: Path, state_npz: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "in.npz", x=np.zeros((2, 1, 3)), initial_h=np.full((1, 1, 5), 0.5))
    report = json.loads(invoke("verify", gru_onnx, "--input", tmp_path / "in.npz", "--json").stdout)
    assert report["cases"] == ["the inputs given"]
    result = invoke("verify", state_npz, "--input", tmp_path / "in.npz")
    assert result.exit_code == 2


def test_what_cannot_be_run_is_status_2(invoke: Invoke, unsupported_onnx: Path) -> None:
    result = invoke("verify", unsupported_onnx)
    assert result.exit_code == 2
    assert "Unique" in result.stderr


@pytest.mark.parametrize("name", ["rnnoise/bd.hdf5", "rtneural/gru_torch.json", "rtneural/gru.json"])
def test_models_of_others_hold(invoke: Invoke, shared_models: Path, name: str) -> None:
    result = invoke("verify", shared_models / name)
    assert result.exit_code == 0, result.output
