"""A speech enhancer written for onnxruntime: numpy's STFT, a frame at a time, caches carried by hand."""

from __future__ import annotations

import textwrap

import numpy as np
import pytest

import fastgru

PROGRAM = """
    window = np.sqrt(np.hanning(513)[:512]).astype(np.float32)
    hop = 256

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    mix, *caches = session.get_inputs()
    state = {cache.name: np.zeros(cache.shape, np.float32) for cache in caches}

    spectra, enhanced = [], np.zeros(len(sound), np.float32)
    for start in range(0, len(sound) - 512 + 1, hop):
        spectrum = np.fft.rfft(sound[start : start + 512] * window)
        frame = np.stack([spectrum.real, spectrum.imag], -1).astype(np.float32).reshape(1, 257, 1, 2)
        enh, *after = session.run([], {mix.name: frame, **state})
        state = dict(zip(state, after))
        spectra.append(enh)
        clean = enh[0, :, 0, 0] + 1j * enh[0, :, 0, 1]
        enhanced[start : start + 512] += np.fft.irfft(clean).astype(np.float32) * window
"""


def run_program(package, **names):
    space = dict(names, np=np)
    exec(compile(f"import {package} as ort\n{textwrap.dedent(PROGRAM)}", "program", "exec"), space)
    return space


@pytest.mark.parametrize("name", ["gtcrn", "gtcrn_simple"])
def test_a_program_for_onnxruntime_runs_with_its_import_changed(shared_models, name):
    path = shared_models / "gtcrn" / f"{name}.onnx"
    rng = np.random.default_rng(0)
    t = np.arange(256 * 25) / 16000
    sound = (np.sin(2 * np.pi * (200 + 300 * t) * t) * np.sin(9 * t) + 0.3 * rng.standard_normal(len(t))) / 4
    sound = sound.astype(np.float32)
    mine = run_program("fastgru.compat.onnxruntime", path=str(path), sound=sound)
    theirs = run_program("onnxruntime", path=str(path), sound=sound)
    assert len(mine["spectra"]) == 24
    assert np.abs(theirs["enhanced"]).max() > 0.01
    np.testing.assert_allclose(mine["enhanced"], theirs["enhanced"], atol=1e-5)

    stream = fastgru.load(path).stream()
    window = mine["window"]
    for k, enh in enumerate(mine["spectra"]):
        spectrum = np.fft.rfft(sound[256 * k : 256 * k + 512] * window)
        frame = np.stack([spectrum.real, spectrum.imag], -1).astype(np.float32).reshape(1, 257, 1, 2)
        np.testing.assert_array_equal(stream.push(frame), enh)
    for array, (cache, carried) in zip(mine["state"].values(), stream.state.items(), strict=True):
        np.testing.assert_array_equal(array, carried, err_msg=cache)
