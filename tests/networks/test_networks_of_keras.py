"""Networks around GRUs that Keras saved, and exported as ONNX (tools/make_keras_networks.py): its numbers from both."""

from __future__ import annotations

import importlib.util
import io
import os
import zipfile
from functools import cache
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

import fastgru

ARCHIVE = Path(__file__).parent.parent / "data" / "networks" / "keras.zip"
NAMES = ("cells", "crnn", "decoder_step", "forecaster", "mask_net", "recommender", "sampler", "translator")


@cache
def member(name: str) -> bytes:
    with zipfile.ZipFile(ARCHIVE) as archive:
        return archive.read(name)


@cache
def golden(name: str) -> tuple[dict[str, np.ndarray], list[np.ndarray]]:
    with np.load(io.BytesIO(member(f"{name}.npz"))) as arrays:
        feeds = {key.removeprefix("in:"): arrays[key] for key in arrays.files if key.startswith("in:")}
        return feeds, [arrays[key] for key in arrays.files if key.startswith("out")]


def run(model: fastgru.Model, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    return list(model.run({spec.name: feeds[spec.name].astype(spec.dtype) for spec in model.inputs}).values())


def ort_run(data: bytes, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    types = {"tensor(float)": np.float32, "tensor(int32)": np.int32, "tensor(int64)": np.int64}
    return session.run(None, {i.name: feeds[i.name].astype(types[i.type]) for i in session.get_inputs()})


def check(results: list[np.ndarray], expected: list[np.ndarray]) -> None:
    assert len(results) == len(expected)
    for got, want in zip(results, expected, strict=True):
        assert got.shape == want.shape
        assert np.abs(want).max() > 1e-2
        assert np.abs(got - want).max() < 1e-5


def test_every_network_is_there_in_both_forms() -> None:
    with zipfile.ZipFile(ARCHIVE) as archive:
        assert set(archive.namelist()) == {f"{name}.{suffix}" for name in NAMES for suffix in ("keras", "npz", "onnx")}


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("suffix", ["keras", "onnx"])
@pytest.mark.parametrize("name", NAMES)
def test_the_numbers_are_those_of_keras(name: str, suffix: str, precision: str) -> None:
    feeds, expected = golden(name)
    check(run(fastgru.load(member(f"{name}.{suffix}"), precision=precision), feeds), expected)


@pytest.mark.parametrize("name", NAMES)
def test_the_numbers_are_those_of_onnxruntime(name: str) -> None:
    """The batch is free in what Keras exports: five rows, each the first two in turn."""
    feeds = {key: np.resize(array, (5, *array.shape[1:])) for key, array in golden(name)[0].items()}
    expected = ort_run(member(f"{name}.onnx"), feeds)
    for suffix in ("keras", "onnx"):
        check(run(fastgru.load(member(f"{name}.{suffix}")), feeds), expected)


keras_is_there = importlib.util.find_spec("keras") is not None and importlib.util.find_spec("onnxscript") is not None


@pytest.mark.skipif(not keras_is_there, reason="keras and onnxscript are not installed")
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.filterwarnings("ignore")
def test_what_the_installed_keras_makes(name: str, tmp_path: Path) -> None:
    os.environ.setdefault("KERAS_BACKEND", "torch")
    from keras_networks import export, make_inputs, make_model, outputs_of

    sizes = {"recommender": {"items": 131, "hidden": 17}, "crnn": {"channels": 3, "hidden": 5}}
    model = make_model(name, 7, **sizes.get(name, {}))
    feeds = make_inputs(model, 8)
    expected = outputs_of(model, feeds)
    for path in export(model, tmp_path).values():
        check(run(fastgru.load(path), feeds), expected)


@pytest.mark.parametrize(
    ("found", "put", "part"),
    [
        (
            '"keras_history": ["g", 0, 0]',
            '"keras_history": ["h", 0, 0]',
            r"'lstm_cell' .*: an initial state has shape \(batch, 5\), expected \(batch, 4\)",
        ),
        (
            '"keras_history": ["a", 0, 0]',
            '"keras_history": ["c", 0, 0]',
            r"'gru_cell_1' .*: its input has shape \(batch, 4\), expected \(batch, 3\)",
        ),
        ('"LSTMCell"', '"SimpleRNNCell"', r"'lstm_cell' \(SimpleRNNCell\)"),
    ],
)
def test_a_cell_on_a_state_that_does_not_fit_is_refused(found: str, put: str, part: str) -> None:
    source, target = zipfile.ZipFile(io.BytesIO(member("cells.keras"))), io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name in source.namelist():
            data = source.read(name)
            archive.writestr(name, data.replace(found.encode(), put.encode()) if name == "config.json" else data)
    with pytest.raises(fastgru.FastGRUError, match=part):
        fastgru.load(target.getvalue())
