"""`fastgru run`, `convert` and `warmup`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result

import fastgru
from fastgru.load import load_graph
from fastgru.reference import run_graph

Invoke = Callable[..., Result]


@pytest.fixture
def x_npy(tmp_path: Path) -> Path:
    np.save(tmp_path / "x.npy", np.random.default_rng(3).standard_normal((6, 2, 3)))
    return tmp_path / "x.npy"


def defined(file: Path, x: np.ndarray, h0: np.ndarray) -> dict[str, np.ndarray]:
    return run_graph(load_graph(file), {"x": x, "initial_h": h0})


def test_outputs_are_written_and_are_right(invoke: Invoke, gru_onnx: Path, x_npy: Path, tmp_path: Path) -> None:
    result = invoke("run", gru_onnx, "--input", x_npy, "--output", tmp_path / "y.npz")
    assert result.exit_code == 0, result.output
    assert "state initial_h is not given: zeros of shape (1, 2, 5)" in result.stderr
    expected = defined(gru_onnx, np.load(x_npy), np.zeros((1, 2, 5)))
    with np.load(tmp_path / "y.npz") as outputs:
        assert set(outputs) == {"Y", "Y_h"}
        for name in outputs:
            assert np.abs(expected[name]).max() > 0.1
            np.testing.assert_allclose(outputs[name], expected[name], atol=2e-6)


def test_a_state_can_be_given_and_one_output_chosen(
    invoke: Invoke, gru_onnx: Path, x_npy: Path, tmp_path: Path
) -> None:
    h0 = np.random.default_rng(4).uniform(-1, 1, (1, 2, 5))
    np.save(tmp_path / "h0.npy", h0)
    arguments = ("--input", f"x={x_npy}", "--input", f"initial_h={tmp_path / 'h0.npy'}", "--only", "Y_h")
    result = invoke("run", gru_onnx, *arguments, "--output", tmp_path / "y.npy", "--precision", "float64")
    assert result.exit_code == 0, result.output
    assert "not given" not in result.stderr
    got = np.load(tmp_path / "y.npy")
    assert got.dtype == np.float64
    np.testing.assert_allclose(got, defined(gru_onnx, np.load(x_npy), h0)["Y_h"], atol=1e-12)


def test_a_csv_is_a_batch_of_one(invoke: Invoke, gru_onnx: Path, tmp_path: Path) -> None:
    x = np.random.default_rng(5).standard_normal((4, 3))
    np.savetxt(tmp_path / "x.csv", x, delimiter=",")
    result = invoke("run", gru_onnx, "--input", tmp_path / "x.csv", "--only", "Y", "--output", tmp_path / "y.csv")
    assert result.exit_code == 0, result.output
    expected = defined(gru_onnx, x[:, None], np.zeros((1, 1, 5)))["Y"].reshape(4, 5)
    np.testing.assert_allclose(np.loadtxt(tmp_path / "y.csv", delimiter=","), expected, atol=2e-6)


def test_without_an_output_file_a_summary_is_shown(invoke: Invoke, gru_onnx: Path, x_npy: Path) -> None:
    result = invoke("run", gru_onnx, "--input", x_npy)
    assert result.exit_code == 0
    assert "(6, 1, 2, 5)" in result.stdout
    assert "Y_h" in result.stdout


def test_what_is_missing_or_does_not_fit_is_one_line(
    invoke: Invoke, gru_onnx: Path, x_npy: Path, tmp_path: Path
) -> None:
    np.save(tmp_path / "wide.npy", np.zeros((6, 2, 4)))
    for arguments, words in (
        ((), "no array for input x"),
        (("--input", tmp_path / "wide.npy"), "(6, 2, 4)"),
        (("--input", x_npy, "--only", "Z"), "--only Z"),
        (("--input", x_npy, "--output", tmp_path / "y.npy"), "2 outputs"),
        (("--input", tmp_path / "none.npy"), "none.npy"),
    ):
        result = invoke("run", gru_onnx, *arguments)
        assert result.exit_code == 2, (arguments, result.output)
        assert words in result.stderr.splitlines()[-1]


def test_a_converted_model_gives_the_same_bits(invoke: Invoke, gru_onnx: Path, x_npy: Path, tmp_path: Path) -> None:
    saved = tmp_path / "small.safetensors"
    result = invoke("convert", gru_onnx, saved)
    assert result.exit_code == 0, result.output
    assert "150 parameters" in result.stdout
    for file, output in ((gru_onnx, tmp_path / "a.npz"), (saved, tmp_path / "b.npz")):
        assert invoke("run", file, "--input", x_npy, "--output", output).exit_code == 0
    with np.load(tmp_path / "a.npz") as a, np.load(tmp_path / "b.npz") as b:
        assert all(np.array_equal(a[name], b[name]) for name in ("Y", "Y_h"))
    again = tmp_path / "again.onnx"
    assert invoke("convert", saved, again).exit_code == 0
    assert invoke("run", again, "--input", x_npy, "--output", tmp_path / "c.npz").exit_code == 0
    with np.load(tmp_path / "a.npz") as a, np.load(tmp_path / "c.npz") as c:
        assert all(np.array_equal(a[name], c[name]) for name in ("Y", "Y_h"))
    assert invoke("convert", gru_onnx, saved).exit_code == 2
    assert invoke("convert", gru_onnx, saved, "--force").exit_code == 0
    assert invoke("convert", gru_onnx, tmp_path / "small.onnx2").exit_code == 2


@pytest.mark.parametrize(
    "words",
    [
        "convert MODEL OUTPUT.safetensors",
        "run MODEL --input x.npy --output OUTPUT.npz",
        "quantize MODEL -o OUTPUT.safetensors",
        "memory MODEL --data x.npy --plot OUTPUT.svg",
        "adapt MODEL --data MODEL -o OUTPUT.safetensors",
        "adapt MODEL --data MODEL -o adapted.safetensors --checkpoint OUTPUT.checkpoint",
        "score MODEL --input MODEL --output OUTPUT.npz",
        "bench MODEL --html OUTPUT.html",
        "bench MODEL --json OUTPUT.json",
    ],
)
def test_an_output_without_a_folder_is_refused_before_the_model_is_read(
    invoke: Invoke, words: str, tmp_path: Path
) -> None:
    model = tmp_path / "model.onnx"
    model.write_bytes(b"no model")
    for folder, why in (
        (tmp_path / "no", f"there is no folder {tmp_path / 'no'}"),
        (model, f"{model} is not a folder"),
    ):
        typed = words.replace("MODEL", str(model)).replace("OUTPUT", str(folder / "made")).split()
        result = invoke(*typed)
        assert result.exit_code == 2
        assert result.stderr.splitlines()[-1].endswith(f": {why}"), result.stderr


def test_the_name_of_an_output_tells_its_format(invoke: Invoke, gru_onnx: Path, x_npy: Path) -> None:
    result = invoke("run", gru_onnx, "--input", x_npy, "--output", "y.mat")
    assert result.exit_code == 2
    assert "y.mat: expected a name that ends in .npz, .npy or .csv" in result.stderr


def test_warmup_readies_the_files_it_is_given(invoke: Invoke, gru_onnx: Path) -> None:
    result = invoke("warmup", gru_onnx)
    assert result.exit_code == 0, result.output
    assert f"{gru_onnx}: ready" in result.stdout
    assert "kernels, " in result.stdout


def test_states_are_opened_wherever_a_model_is_read(invoke: Invoke, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    weights = [rng.normal(0, 0.3, shape).tolist() for shape in ((1, 12), (4, 12), (2, 12))]
    layers = [{"type": "gru", "activation": "", "shape": [None, None, 4], "weights": weights}]
    file, x = tmp_path / "amp.json", rng.standard_normal((1, 6, 1)).astype(np.float32)
    file.write_text(json.dumps({"in_shape": [None, None, 1], "layers": layers}))
    np.save(tmp_path / "x.npy", x)
    seen = json.loads(invoke("inspect", file, "--open-states", "--json").output)
    assert seen["states"] == {"layers_0_gru_state_in": "layers_0_gru_state_out"}
    result = invoke("run", file, "--open-states", "--input", tmp_path / "x.npy", "--output", tmp_path / "y.npz")
    assert result.exit_code == 0, result.output
    with np.load(tmp_path / "y.npz") as outputs:
        assert set(outputs) == {"y", "layers_0_gru_state_out"}
    for ending in ("safetensors", "onnx"):
        assert invoke("convert", file, tmp_path / f"amp.{ending}", "--open-states").exit_code == 0
        stream = fastgru.load(tmp_path / f"amp.{ending}").stream()
        made = [stream.push(piece) for piece in np.split(x, 3, axis=1)]
        assert np.array_equal(np.concatenate(made, axis=1), fastgru.load(file)(x))
    result = invoke("verify", file, "--open-states")
    assert result.exit_code == 0, result.output
