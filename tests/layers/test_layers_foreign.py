"""`GRU.from_onnx` against ONNX Runtime, `GRU.from_keras` against Keras and its formula."""

from __future__ import annotations

import importlib.util
import os

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

from fastgru.errors import ShapeError, SpecError, UnsupportedModelError
from fastgru.layers import GRU

T, N, I, H = 5, 3, 4, 6


def onnx_gru(X, W, R, B, lengths, h0, **attributes):
    arrays = {"X": X, "W": W, "R": R, "B": B, "lengths": lengths, "h0": h0}
    node = helper.make_node("GRU", [k if v is not None else "" for k, v in arrays.items()], ["Y", "Y_h"], **attributes)
    feeds = {k: v for k, v in arrays.items() if v is not None}
    kinds = {"float32": TensorProto.FLOAT, "int32": TensorProto.INT32}
    graph = helper.make_graph(
        [node],
        "gru",
        [helper.make_tensor_value_info(k, kinds[v.dtype.name], v.shape) for k, v in feeds.items()],
        [helper.make_tensor_value_info(k, TensorProto.FLOAT, None) for k in ("Y", "Y_h")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, feeds)


def onnx_arrays(rng, D):
    shapes = [(T, N, I), (D, 3 * H, I), (D, 3 * H, H), (D, 6 * H), (D, N, H)]
    return [0.5 * rng.standard_normal(shape).astype(np.float32) for shape in shapes]


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("linear_before_reset", [0, 1])
@pytest.mark.parametrize("layout", [0, 1])
def test_onnx(runner, rng, direction, linear_before_reset, layout):
    D = 2 if direction == "bidirectional" else 1
    X, W, R, B, h0 = onnx_arrays(rng, D)
    lengths = np.array([2, 5, 1], np.int32)
    form = {"linear_before_reset": linear_before_reset, "direction": direction, "hidden_size": H}
    Y, Y_h = onnx_gru(X, W, R, B, lengths, h0, **form)
    y, h_n = GRU.from_onnx(W, R, B, layout=layout, **form)(X.swapaxes(0, 1) if layout else X, h0, lengths)
    y = y.swapaxes(0, 1) if layout else y
    np.testing.assert_allclose(y, Y.transpose(0, 2, 1, 3).reshape(T, N, D * H), rtol=0, atol=2e-6)
    np.testing.assert_allclose(h_n, Y_h, rtol=0, atol=2e-6)


def test_onnx_activations(runner, rng):
    X, W, R, B, _ = onnx_arrays(rng, 2)
    form = {
        "activations": ["HardSigmoid", "LeakyRelu", "Sigmoid", "ScaledTanh"],
        "activation_alpha": [0.25, 0.1, 0.8],
        "activation_beta": [0.4, 0.9],
        "direction": "bidirectional",
    }
    Y, _ = onnx_gru(X, W, R, B, None, None, hidden_size=H, **form)
    y, _ = GRU.from_onnx(W, R, B, **form)(X)
    np.testing.assert_allclose(y, Y.transpose(0, 2, 1, 3).reshape(T, N, 2 * H), rtol=0, atol=2e-6)


def test_onnx_refusals(rng):
    _, W, R, B, _ = onnx_arrays(rng, 1)
    for given, error, said in [
        ({"hidden_size": 5}, ShapeError, "hidden_size is 5"),
        ({"direction": "bidirectional"}, ShapeError, "expected 2"),
        ({"direction": "backward"}, SpecError, "backward"),
        ({"linear_before_reset": 2}, SpecError, "linear_before_reset is 2"),
        ({"layout": 2}, SpecError, "layout is 2"),
        ({"activations": ["Sigmoid", "Mish"]}, UnsupportedModelError, "Mish"),
        ({"activations": ["Sigmoid"]}, UnsupportedModelError, "1 names, expected 2"),
        ({"activation_alpha": [0.1]}, UnsupportedModelError, "activation_alpha"),
        ({"activation_alpha": 0.1}, SpecError, "activation_alpha is 0.1, expected a list"),
        ({"activation_beta": 0}, SpecError, "activation_beta is 0, expected a list"),
        ({"activations": "Tanh"}, SpecError, "activations is 'Tanh', expected a list"),
        ({"clip": -1.0}, SpecError, "clip"),
    ]:
        with pytest.raises(error, match=said):
            GRU.from_onnx(W, R, B, **given)
    with pytest.raises(ShapeError, match="B has shape"):
        GRU.from_onnx(W, R, B[:, 1:])
    with pytest.raises(ShapeError, match="W has shape"):
        GRU.from_onnx(W[:, 1:], R, B)


def keras_formula(x, kernel, recurrent, bias, *, reset_after, f, g, backwards):
    """The layer's documentation in scalars of one row: gates z, r, h; x @ kernel."""
    H = recurrent.shape[0]
    bias = np.zeros((2, 3 * H)) if bias is None else bias if reset_after else np.stack([bias, np.zeros(3 * H)])
    y = np.zeros((len(x), x.shape[1], H))
    for n in range(len(x)):
        h = np.zeros(H)
        for k, x_t in enumerate(x[n, ::-1] if backwards else x[n]):
            from_x = x_t @ kernel + bias[0]
            from_h = h @ recurrent[:, : 2 * H] + bias[1, : 2 * H]
            z, r = f(from_x[:H] + from_h[:H]), f(from_x[H : 2 * H] + from_h[H:])
            if reset_after:
                new = g(from_x[2 * H :] + r * (h @ recurrent[:, 2 * H :] + bias[1, 2 * H :]))
            else:
                new = g(from_x[2 * H :] + (r * h) @ recurrent[:, 2 * H :])
            h = z * h + (1 - z) * new
            y[n, k] = h
    return y


def keras_arrays(rng, reset_after):
    shapes = [(I, 3 * H), (H, 3 * H), (2, 3 * H) if reset_after else (3 * H,)]
    return [0.5 * rng.standard_normal(shape) for shape in shapes]


FUNCTIONS = {
    "tanh": np.tanh,
    "sigmoid": lambda a: 1 / (1 + np.exp(-a)),
    "relu": lambda a: np.maximum(a, 0),
    "linear": lambda a: a,
    2: lambda a: np.clip(0.2 * a + 0.5, 0, 1),
    3: lambda a: np.clip(a / 6 + 0.5, 0, 1),
}


@pytest.mark.parametrize("reset_after", [True, False])
@pytest.mark.parametrize("go_backwards", [True, False])
@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize(("activation", "recurrent", "version"), [
    ("tanh", "sigmoid", None), ("relu", "hard_sigmoid", 2), ("linear", "hard_sigmoid", 3),
])  # fmt: skip
def test_keras(runner, rng, reset_after, go_backwards, with_bias, activation, recurrent, version):
    kernel, recurrent_kernel, bias = keras_arrays(rng, reset_after)
    bias = bias if with_bias else None
    x = rng.standard_normal((N, T, I))
    gru = GRU.from_keras(
        kernel, recurrent_kernel, bias, reset_after=reset_after, go_backwards=go_backwards, activation=activation,
        recurrent_activation=recurrent, keras_version=version, precision="float64",
    )  # fmt: skip
    y, h_n = gru(x)
    expected = keras_formula(
        x, kernel, recurrent_kernel, bias, reset_after=reset_after, g=FUNCTIONS[activation],
        f=FUNCTIONS[version or recurrent], backwards=go_backwards,
    )  # fmt: skip
    np.testing.assert_allclose(y, expected, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(h_n[0], expected[:, -1], rtol=1e-12, atol=1e-12)


@pytest.mark.skipif(importlib.util.find_spec("keras") is None, reason="keras is not installed")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("reset_after", [True, False])
@pytest.mark.parametrize("go_backwards", [True, False])
def test_keras_itself(runner, rng, reset_after, go_backwards):
    os.environ.setdefault("KERAS_BACKEND", "torch")
    keras = pytest.importorskip("keras")
    layer = keras.layers.GRU(
        H, reset_after=reset_after, go_backwards=go_backwards, return_sequences=True,
        recurrent_activation="hard_sigmoid",
    )  # fmt: skip
    x = rng.standard_normal((N, T, I)).astype(np.float32)
    layer.build(x.shape)
    layer.set_weights(keras_arrays(rng, reset_after))
    expected = keras.ops.convert_to_numpy(layer(x))
    gru = GRU.from_keras(
        *layer.get_weights(), reset_after=reset_after, go_backwards=go_backwards,
        recurrent_activation="hard_sigmoid", keras_version=3,
    )  # fmt: skip
    np.testing.assert_allclose(gru(x)[0], expected, rtol=0, atol=2e-6)


def test_keras_refusals(rng):
    kernel, recurrent_kernel, bias = keras_arrays(rng, True)
    with pytest.raises(SpecError, match="give keras_version"):
        GRU.from_keras(kernel, recurrent_kernel, bias, recurrent_activation="hard_sigmoid")
    with pytest.raises(UnsupportedModelError, match=r"activation \['tanh'\]"):
        GRU.from_keras(kernel, recurrent_kernel, bias, activation=["tanh"])
    with pytest.raises(UnsupportedModelError, match="selu"):
        GRU.from_keras(kernel, recurrent_kernel, bias, activation="selu")
    with pytest.raises(ShapeError, match=r"bias has shape \(2, 18\), expected \(18,\) for reset_after=False"):
        GRU.from_keras(kernel, recurrent_kernel, bias, reset_after=False)
    with pytest.raises(ShapeError, match="kernel has shape"):
        GRU.from_keras(kernel.T, recurrent_kernel, bias)
