"""RNNoise's network, and models of Keras 1 and early Keras 2 written here as their sources say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from keras_files import (
    archive,
    functional,
    gru_arrays,
    gru_by_hand,
    hard_sigmoid_of_keras_2,
    layer,
    legacy,
    node,
    sequential,
    sigmoid,
)

from fastgru.errors import InvalidModelError, UnreadTensorsError
from fastgru.importers.keras import read_keras
from fastgru.reference import run_graph

INPUT = {"batch_input_shape": [None, 5, 3]}


def test_rnnoise_and_its_inner_layers(shared_models: Path) -> None:
    wanted = ["denoise_output", "vad_output", "noise_gru", "denoise_gru"]
    graph = read_keras(shared_models / "rnnoise" / "bd.hdf5", outputs=wanted)
    golden = np.load(shared_models / "rnnoise" / "golden.npz")
    assert [spec.name for spec in graph.outputs] == wanted
    assert graph.meta["version"] == "2.2.2"
    outputs = run_graph(graph, {"main_input": golden["x"]})
    names = {"gains": "denoise_output", "vad": "vad_output", "noise_gru": "noise_gru", "denoise_gru": "denoise_gru"}
    for key, name in names.items():
        np.testing.assert_allclose(outputs[name], golden[key], rtol=0, atol=1e-6)


def only_output(content: bytes, x: Any) -> Any:
    graph = read_keras(content)
    (spec,) = graph.outputs
    return run_graph(graph, {graph.inputs[0].name: x})[spec.name]


@pytest.mark.parametrize("suffix", ["", ":0"], ids=["theano", "tensorflow"])
@pytest.mark.parametrize("version", ["1.2.2", None])
def test_keras_1_wrote_nine_arrays(suffix: str, version: str | None) -> None:
    rng = np.random.default_rng(1)
    kernel, recurrent, bias = gru_arrays(rng, 3, 4, reset_after=False)
    named = []
    for n, gate in enumerate("zrh"):
        piece = slice(4 * n, 4 * n + 4)
        named += [
            (f"gru_1_{k}_{gate}{suffix}", a[..., piece]) for k, a in (("W", kernel), ("U", recurrent), ("b", bias))
        ]
    dense = [rng.normal(0, 1, shape).astype("f4") for shape in ((4, 2), (2,))]
    inner = layer("Dense", "dense_1", output_dim=2, activation="linear", bias=True)
    config = {
        "class_name": "Sequential",
        "config": [
            layer("GRU", "gru_1", output_dim=4, activation="tanh", inner_activation="hard_sigmoid", consume_less="cpu",
                  return_sequences=True, go_backwards=False, stateful=False, unroll=False, dropout_W=0.2, **INPUT),
            layer("TimeDistributed", "time_1", layer=inner),
        ],
    }  # fmt: skip
    weights = {"gru_1": named, "time_1": [(f"dense_1_{k}{suffix}", a) for k, a in zip("Wb", dense, strict=True)]}
    x = rng.normal(0, 1, (2, 5, 3))
    expected = gru_by_hand(x, kernel, recurrent, bias, gate=hard_sigmoid_of_keras_2) @ dense[0] + dense[1]
    assert np.abs(expected).max() > 0.5
    np.testing.assert_allclose(only_output(legacy(config, weights, version=version), x), expected, atol=1e-6)


def test_keras_1_on_a_gpu_wrote_three_arrays_and_merged_with_one_layer() -> None:
    rng = np.random.default_rng(2)
    arrays = {side: gru_arrays(rng, 3, 4, reset_after=False) for side in ("forward_gru_1", "backward_gru_1", "gru_2")}
    named = {name: [(f"{name}_{k}", a) for k, a in zip("WUb", three, strict=True)] for name, three in arrays.items()}
    gru = {"output_dim": 4, "activation": "tanh", "inner_activation": "sigmoid", "consume_less": "gpu"}
    merge = layer("Merge", "merge_1", mode="concat", mode_type="raw", concat_axis=-1)
    config = functional(
        node(layer("InputLayer", "x", batch_input_shape=[None, 5, 3], input_dtype="float32")),
        node(layer("Bidirectional", "both", merge_mode="sum", layer=layer("GRU", "gru_1", **gru)), [["x", 0, 0]]),
        node(layer("GRU", "gru_2", **gru), [["x", 0, 0]]),
        node(merge, [["both", 0, 0], ["gru_2", 0, 0]]),
        inputs=[["x", 0, 0]], outputs=[["merge_1", 0, 0]],
    )  # fmt: skip
    weights = {"both": named["forward_gru_1"] + named["backward_gru_1"], "gru_2": named["gru_2"]}
    x = rng.normal(0, 1, (2, 5, 3))
    forward, ahead = (gru_by_hand(x, *arrays[n], gate=sigmoid)[:, -1] for n in ("forward_gru_1", "gru_2"))
    backward = gru_by_hand(x[:, ::-1], *arrays["backward_gru_1"], gate=sigmoid)[:, -1]
    expected = np.concatenate([forward + backward, ahead], axis=-1)
    np.testing.assert_allclose(only_output(legacy(config, weights, version="1.2.2"), x), expected, atol=1e-6)


@pytest.mark.parametrize(("version", "slope"), [("2.2.4", 0.2), ("2.2.4-tf", 0.2), ("2.15.0", 0.2), ("3.0.5", 1 / 6)])
def test_hard_sigmoid_is_that_of_the_version(version: str, slope: float) -> None:
    rng = np.random.default_rng(3)
    arrays = gru_arrays(rng, 3, 4, reset_after=True)
    gru = layer(
        "GRU", "g", units=4, recurrent_activation="hard_sigmoid", reset_after=True, return_sequences=True, **INPUT
    )
    names = ["g/kernel:0", "g/recurrent_kernel:0", "g/bias:0"]
    content = legacy(sequential(gru), {"g": list(zip(names, arrays, strict=True))}, version=version)
    x = rng.normal(0, 1, (2, 5, 3))
    expected = gru_by_hand(x, *arrays, gate=lambda a: np.clip(slope * a + 0.5, 0, 1))
    np.testing.assert_allclose(only_output(content, x), expected, atol=1e-6)


def test_cudnn_gru_keeps_each_matrix_as_cudnn_has_it() -> None:
    rng = np.random.default_rng(4)
    kernel, recurrent, bias = gru_arrays(rng, 3, 4, reset_after=True)
    # The way back of keras.engine.saving.preprocess_weights_for_loading, from GRU(reset_after=True) to CuDNNGRU.
    cudnn = [
        np.hstack([g.T.reshape(g.shape, order="C") for g in np.hsplit(kernel, 3)]),
        np.hstack([g.T for g in np.hsplit(recurrent, 3)]),
        bias.reshape(-1),
    ]
    names = ["c/kernel:0", "c/recurrent_kernel:0", "c/bias:0"]
    config = sequential(layer("CuDNNGRU", "c", units=4, return_sequences=True, **INPUT))
    content = legacy(config, {"c": list(zip(names, cudnn, strict=True))})
    x = rng.normal(0, 1, (2, 5, 3))
    np.testing.assert_allclose(
        only_output(content, x), gru_by_hand(x, kernel, recurrent, bias, gate=sigmoid), atol=1e-6
    )


def test_a_bidirectional_of_early_keras_2_carries_its_output_over_masked_steps() -> None:
    rng = np.random.default_rng(5)
    arrays = {side: gru_arrays(rng, 3, 4, reset_after=False) for side in ("forward", "backward")}
    weights = [
        (f"both/{side}_gru_1/{role}:0", a)
        for side, three in arrays.items()
        for role, a in zip(("kernel", "recurrent_kernel", "bias"), three, strict=True)
    ]
    gru = layer("GRU", "gru_1", units=4, recurrent_activation="sigmoid", return_sequences=True)
    config = sequential(layer("Masking", "m", mask_value=0.0, **INPUT), layer("Bidirectional", "both", layer=gru))
    x = rng.normal(0, 1, (1, 5, 3))
    x[0, 3:] = 0
    for version, last in (("2.3.1", None), ("2.2.4-tf", 0.0)):
        y = only_output(legacy(config, {"m": [], "both": weights}, version=version), x)
        forward = gru_by_hand(x[:, :3], *arrays["forward"], gate=sigmoid)
        np.testing.assert_allclose(y[:, :3, :4], forward, atol=1e-6)
        np.testing.assert_allclose(y[:, 3:, :4], forward[:, -1:].repeat(2, 1) if last is None else 0.0, atol=1e-6)


def dense_model(**more: Any) -> bytes:
    config = sequential(layer("Dense", "d", units=2, batch_input_shape=[None, 3]))
    arrays = [("d/kernel:0", np.ones((3, 2), "f4")), ("d/bias:0", np.ones(2, "f4"))]
    return legacy(config, {"d": [*arrays, *more.pop("extra", [])]}, **more)


def test_tensors_that_nobody_read_are_listed() -> None:
    content = dense_model(extra=[("d/secret:0", np.ones(4, "f4"))])
    with pytest.raises(UnreadTensorsError, match=r"1 tensor.*\n  model_weights/d/d/secret:0 \(4,\)"):
        read_keras(content)
    assert read_keras(content, allow_unread=True).num_parameters == 8


def test_what_training_left_behind_is_passed_over() -> None:
    optimizer = {"optimizer_weights/training/Adam/Variable:0": np.ones((3, 2), "f4")}
    assert read_keras(dense_model(**optimizer)).num_parameters == 8


def test_a_layer_called_twice_is_one_set_of_constants() -> None:
    config = functional(
        node(layer("InputLayer", "a", batch_input_shape=[None, 3])),
        node(layer("InputLayer", "b", batch_input_shape=[None, 3])),
        node(layer("Dense", "d", units=3, activation="tanh"), [["a", 0, 0, {}]], [["b", 0, 0, {}]], [["d", 1, 0, {}]]),
        inputs=[["a", 0, 0], ["b", 0, 0]], outputs=[["d", 0, 0], ["d", 2, 0], ["d", 1, 0]],
    )  # fmt: skip
    kernel = np.arange(9, dtype="f4").reshape(3, 3) / 9
    graph = read_keras(legacy(config, {"d": [("d/kernel:0", kernel), ("d/bias:0", np.ones(3, "f4"))]}))
    assert graph.num_parameters == 12
    a, b = np.eye(3)[:2], np.eye(3)[1:]
    outputs = list(run_graph(graph, {"a": a, "b": b}).values())
    once = np.tanh(b @ kernel + 1)
    for y, expected in zip(outputs, (np.tanh(a @ kernel + 1), np.tanh(once @ kernel + 1), once), strict=True):
        np.testing.assert_allclose(y, expected, atol=1e-6)


def test_an_output_may_be_an_input_or_another_output() -> None:
    config = functional(
        node(layer("InputLayer", "a", batch_input_shape=[None, 3])),
        node(layer("Dropout", "e", rate=0.5), [["a", 0, 0, {}]]),
        node(layer("Dense", "d", units=2), [["e", 0, 0, {}]]),
        node(layer("Dropout", "f", rate=0.5), [["d", 0, 0, {}]]),
        inputs=[["a", 0, 0]], outputs=[["e", 0, 0], ["d", 0, 0], ["f", 0, 0]],
    )  # fmt: skip
    arrays = [("d/kernel:0", np.ones((3, 2), "f4")), ("d/bias:0", np.ones(2, "f4"))]
    graph = read_keras(legacy(config, {"d": arrays}))
    x = np.arange(6.0).reshape(2, 3)
    outputs = run_graph(graph, {"a": x})
    np.testing.assert_array_equal(outputs["e"], x)
    np.testing.assert_array_equal(outputs["d"], x.sum(1, keepdims=True) + np.ones((1, 2)))
    np.testing.assert_array_equal(outputs["f"], outputs["d"])


def test_weights_of_another_model_in_the_archive_are_noticed() -> None:
    config = sequential(layer("Dense", "d", units=2, batch_input_shape=[None, 3]))
    arrays = {"layers/dense/vars/0": np.ones((4, 2), "f4"), "layers/dense/vars/1": np.ones(2, "f4")}
    with pytest.raises(InvalidModelError, match=r"layer 'd' \(Dense\): kernel has shape \(4, 2\)"):
        read_keras(archive(config, arrays))


def lstm_case(rng: np.random.Generator, gate: str) -> tuple[Any, Any, bytes, dict[str, Any]]:
    """An LSTM of the usual layout: its arrays, an input, the file and the configuration of its layer."""
    I, H = 3, 4
    shapes = ((I, 4 * H), (H, 4 * H), (4 * H,))
    arrays = [rng.normal(0, 0.5, shape).astype(np.float32) for shape in shapes]
    config = {"units": H, "return_sequences": True, "recurrent_activation": gate, **INPUT}
    named = list(zip(("l/kernel:0", "l/recurrent_kernel:0", "l/bias:0"), arrays, strict=True))
    return arrays, rng.normal(0, 1, (2, 5, I)), legacy(sequential(layer("LSTM", "l", **config)), {"l": named}), config


def test_cudnn_lstm_keeps_each_matrix_as_cudnn_has_it() -> None:
    rng = np.random.default_rng(6)
    (kernel, recurrent, bias), x, plain, _ = lstm_case(rng, "sigmoid")
    half = rng.normal(0, 1, bias.shape).astype(np.float32)
    cudnn = [
        np.hstack([g.T.reshape(g.shape, order="C") for g in np.hsplit(kernel, 4)]),
        np.hstack([g.T for g in np.hsplit(recurrent, 4)]),
        np.concatenate((half, bias - half)),
    ]
    names = ["l/kernel:0", "l/recurrent_kernel:0", "l/bias:0"]
    config = sequential(layer("CuDNNLSTM", "l", units=4, return_sequences=True, **INPUT))
    content = legacy(config, {"l": list(zip(names, cudnn, strict=True))})
    np.testing.assert_allclose(only_output(content, x), only_output(plain, x), atol=1e-6)


def test_keras_1_wrote_an_lstm_gate_by_gate() -> None:
    (kernel, recurrent, bias), x, plain, _ = lstm_case(np.random.default_rng(7), "hard_sigmoid")
    parts = zip("WUb", (kernel, recurrent, bias), strict=True)
    each = {f"l_{k}_{gate}": part for k, a in parts for gate, part in zip("ifco", np.split(a, 4, axis=-1), strict=True)}
    names = [f"l_{k}_{gate}" for gate in "icfo" for k in "WUb"]  # the order of the file
    config = layer("LSTM", "l", output_dim=4, return_sequences=True, inner_activation="hard_sigmoid", **INPUT)
    content = legacy(sequential(config), {"l": [(name, each[name]) for name in names]}, version="1.2.2")
    np.testing.assert_allclose(only_output(content, x), only_output(plain, x), atol=1e-6)
