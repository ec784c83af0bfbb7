"""GTCRN, a streaming speech enhancer as torch exports it, raw and simplified: frame by frame to the stored values."""

from __future__ import annotations

import numpy as np
import pytest

import fastgru

FILES = ("gtcrn.onnx", "gtcrn_simple.onnx")


@pytest.fixture(scope="module")
def folder(shared_models):
    return shared_models / "gtcrn"


@pytest.fixture(scope="module")
def golden(folder):
    with np.load(folder / "golden.npz") as arrays:
        return dict(arrays)


def program(model):
    return model._runnable.program({spec.name: spec.shape for spec in model.inputs})


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("file", FILES)
def test_64_frames_with_carried_state(folder, golden, file, precision):
    stream = fastgru.load(folder / file, precision=precision).stream()
    frames = golden["mix"].reshape(-1, 1, 257, 1, 2).astype(precision)
    out = np.empty(frames.shape[1:], precision)
    for frame, want in zip(frames, golden["enh"], strict=True):
        assert stream.push(frame, out=out) is out
        np.testing.assert_allclose(out, want, rtol=0, atol=1e-5)
    assert set(stream.state) == {"conv_cache", "tra_cache", "inter_cache"}
    for name, state in stream.state.items():
        np.testing.assert_allclose(state, golden[f"final_{name}"], rtol=0, atol=1e-5)


def test_the_raw_file_plans_to_the_program_of_the_simplified_one(folder):
    raw, simple = (program(fastgru.load(folder / file)) for file in FILES)
    assert len(raw.names) <= len(simple.names) < 240
    kinds = {name.removesuffix("_float32").removesuffix("_int32") for name in raw.names}
    grus = {"gru_reset_after", "gru_step_reset_after"}
    assert kinds <= {"conv", "conv_panel", "copy", "fusion", "layer_norm", "linear", "reduce_sum", "transpose", *grus}


def test_both_files_give_the_same_bits(folder, golden):
    models = [fastgru.load(folder / file) for file in FILES]
    inputs = {spec.name: np.zeros(spec.shape, np.float32) for spec in models[0].inputs}
    inputs["mix"] = golden["mix"][:1].reshape(1, 257, 1, 2)
    first, second = (model.run(inputs) for model in models)
    for name, array in first.items():
        np.testing.assert_array_equal(array, second[name])
