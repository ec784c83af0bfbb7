"""Small files for the commands to work on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result
from onnx import TensorProto, helper, numpy_helper

from fastgru.cli import main

I, H = 3, 5


@pytest.fixture
def invoke() -> Callable[..., Result]:
    def run(*arguments: object) -> Result:
        result = CliRunner().invoke(main, [str(a) for a in arguments])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run


@pytest.fixture
def gru_onnx(tmp_path: Path) -> Path:
    """x (T, N, 3), initial_h (1, N, 5) -> Y (T, 1, N, 5), Y_h (1, N, 5); the reset comes before, as ONNX has it."""
    rng = np.random.default_rng(0)
    shapes = {"W": (1, 3 * H, I), "R": (1, 3 * H, H), "B": (1, 6 * H)}
    graph = helper.make_graph(
        [helper.make_node("GRU", ["x", "W", "R", "B", "", "initial_h"], ["Y", "Y_h"], name="cell", hidden_size=H)],
        "small",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, ["T", "N", I]),
            helper.make_tensor_value_info("initial_h", TensorProto.FLOAT, [1, "N", H]),
        ],
        [
            helper.make_tensor_value_info("Y", TensorProto.FLOAT, ["T", 1, "N", H]),
            helper.make_tensor_value_info("Y_h", TensorProto.FLOAT, [1, "N", H]),
        ],
        [numpy_helper.from_array(rng.standard_normal(s).astype(np.float32), n) for n, s in shapes.items()],
    )
    model = helper.make_model(graph, producer_name="tests", opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    onnx.save(model, tmp_path / "small.onnx")
    return tmp_path / "small.onnx"


@pytest.fixture
def state_npz(tmp_path: Path) -> Path:
    """A state dict with torch's names: a GRU of two layers under "rnn", an LSTM under "other", and a Linear."""
    rng = np.random.default_rng(1)
    arrays = {"fc.weight": rng.standard_normal((2, H))}
    for prefix, gates in (("rnn", 3), ("other", 4)):
        for layer in range(2):
            rows = I if layer == 0 else H
            for name, shape in (
                ("weight_ih", (gates * H, rows)),
                ("weight_hh", (gates * H, H)),
                ("bias_ih", (gates * H,)),
                ("bias_hh", (gates * H,)),
            ):
                arrays[f"{prefix}.{name}_l{layer}"] = rng.standard_normal(shape)
    np.savez(tmp_path / "state.npz", **{name: a.astype(np.float32) for name, a in arrays.items()})
    return tmp_path / "state.npz"


@pytest.fixture
def unsupported_onnx(tmp_path: Path) -> Path:
    graph = helper.make_graph(
        [
            helper.make_node("Unique", ["x"], ["Y"], name="the_unique"),
            helper.make_node("Bernoulli", ["x"], ["Z"], name="the_other"),
        ],
        "unsupported",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["T", "N", I])],
        [
            helper.make_tensor_value_info("Y", TensorProto.FLOAT, None),
            helper.make_tensor_value_info("Z", TensorProto.INT64, None),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, tmp_path / "unsupported.onnx")
    return tmp_path / "unsupported.onnx"
