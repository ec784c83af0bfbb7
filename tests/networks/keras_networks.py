"""Networks with GRUs in them, as Keras models: what keras.zip was written from, and the live tests export."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

import keras
import numpy as np
from keras import Input, Model

__all__ = ["NETWORKS", "export", "make_inputs", "make_model", "outputs_of"]

L: Final = keras.layers
Array = np.ndarray


def crnn(bands: int = 12, channels: int = 4, hidden: int = 6, classes: int = 5) -> Model:
    """x (N, 20, bands, 1) -> class probabilities a frame: convolutions and pooling, bidirectional GRUs, dense."""
    x = y = Input((20, bands, 1), name="x")
    for O in (channels, 2 * channels):
        y = L.Conv2D(O, 3, padding="same", use_bias=False)(y)
        y = L.MaxPooling2D(2)(L.ReLU()(L.BatchNormalization()(y)))
    y = L.Reshape((5, 2 * channels * (bands // 4)))(y)
    for _ in range(2):
        y = L.Bidirectional(L.GRU(hidden, return_sequences=True))(y)
    return Model(x, L.Dense(classes, activation="softmax")(y))


def decoder_step(words: int = 11, hidden: int = 8) -> Model:
    """token (N, 1), h0 (N, H), encoded (N, 5, H) -> scores (N, V), hn (N, H): additive attention, then a GRU."""
    token, h0 = Input((1,), dtype="int32", name="token"), Input((hidden,), name="h0")
    encoded = Input((5, hidden), name="encoded")
    context = L.AdditiveAttention()([L.Reshape((1, hidden))(h0), encoded])
    x = L.Concatenate()([L.Embedding(words, hidden)(token), context])
    y, hn = L.GRU(hidden, return_state=True)(x, initial_state=h0)
    return Model([token, h0, encoded], [L.Dense(words)(y), hn])


def translator(words: int = 11, hidden: int = 8) -> Model:
    """source (N, 5), target (N, 4) -> scores (N, 4, V): encoder, and a decoder that is told the words before."""
    source, target = (Input((n,), dtype="int32", name=name) for name, n in (("source", 5), ("target", 4)))
    table = L.Embedding(words, hidden)
    encoded, h = L.GRU(hidden, return_sequences=True, return_state=True)(table(source))
    y = L.GRU(hidden, return_sequences=True)(table(target), initial_state=h)
    context = L.Attention()([y, encoded])
    return Model([source, target], L.Dense(words)(L.Concatenate()([y, context])))


def recommender(items: int = 61, hidden: int = 10) -> Model:
    """items (N, 4) -> probabilities of every item (N, V)."""
    ids = Input((4,), dtype="int32", name="items")
    y = L.GRU(hidden)(L.Embedding(items, hidden)(ids))
    return Model(ids, L.Dense(items, activation="softmax")(y))


def forecaster(features: int = 5, hidden: int = 9) -> Model:
    """x, mask, gap (N, 4, F) -> forecast (N, F): what is missing is left out, and its age fades what is there."""
    x, mask, gap = (Input((4, features), name=name) for name in ("x", "mask", "gap"))
    fade = L.Dense(features, activation="sigmoid")(gap)
    seen = L.Multiply()([L.Multiply()([x, mask]), fade])
    y = L.GRU(hidden, reset_after=False)(L.Concatenate()([seen, mask, gap]))
    return Model([x, mask, gap], L.Dense(features)(L.BatchNormalization()(y)))


def mask_net(bands: int = 16, channels: int = 4, hidden: int = 8) -> Model:
    """x (N, 6, bands, 1) -> x masked: convolution, GRU, transposed convolution."""
    x = Input((6, bands, 1), name="x")
    half = bands // 2
    low = L.PReLU(shared_axes=[1, 2])(L.Conv2D(channels, (1, 4), strides=(1, 2), padding="same")(x))
    y = L.GRU(hidden, return_sequences=True)(L.Reshape((6, half * channels))(low))
    y = L.Reshape((6, half, channels))(L.Dense(half * channels, activation="relu")(y))
    y = L.Conv2DTranspose(1, (1, 4), strides=(1, 2), padding="same", activation="sigmoid")(L.Add()([y, low]))
    return Model(x, L.Multiply()([x, y]))


def sampler(condition: int = 6, hidden: int = 12, levels: int = 16) -> Model:
    """sample (N, 1), condition (N, C), h (N, H) -> probabilities of the next sample, h_out."""
    given, about = Input((1,), name="sample"), Input((condition,), name="condition")
    h = Input((hidden,), name="h")
    x = L.Dense(hidden)(L.Concatenate()([given, about]))
    y, h_out = L.GRUCell(hidden)(x, [h])
    y = L.Dense(10, activation="relu")(L.Concatenate()([L.Add()([x, y]), about]))
    return Model([given, about, h], [L.Dense(levels, activation="softmax")(y), h_out[0]])


def cells(features: int = 3) -> Model:
    """Cells of every kind that the model calls itself, one of them twice."""
    names = {"a": features, "b": features, "h": 5, "g": 4, "c": 4, "s": 3}
    inputs = {name: Input((size,), name=name) for name, size in names.items()}
    a, b, h, g, c, s = inputs.values()
    twice = L.GRUCell(5, reset_after=False)
    _, [h] = twice(a, [h])
    y, h = twice(b, h)
    y, [g, c] = L.LSTMCell(4)(y, states=[g, c])
    y, [s] = L.SimpleRNNCell(3)(y, [s])
    return Model(list(inputs.values()), [L.Dense(2)(y), h[0], g, c, s])


NETWORKS: Final[dict[str, Callable[..., Model]]] = {
    function.__name__: function
    for function in (crnn, decoder_step, translator, recommender, forecaster, mask_net, sampler, cells)
}


def make_model(name: str, seed: int, **sizes: int) -> Model:
    """With weights as if it had been trained: none of them zero, none of the statistics trivial."""
    keras.utils.set_random_seed(seed)
    rng = np.random.default_rng(seed)
    model = NETWORKS[name](**sizes)
    for variable in model.weights:
        array = np.asarray(keras.ops.convert_to_numpy(variable))
        noise = rng.uniform(-0.2, 0.2, array.shape)
        variable.assign(np.abs(array + noise) + 0.1 if "variance" in variable.path else array + noise)
    return model


def make_inputs(model: Model, seed: int) -> dict[str, Array]:
    """Two rows of each input: ids, zeros and ones, positive numbers or any, as its name asks for."""
    rng, found = np.random.default_rng(seed), {}
    for tensor in model.inputs:
        shape = (2, *tensor.shape[1:])
        if tensor.dtype == "int32":
            found[tensor.name] = rng.integers(1, 11, shape).astype(np.int32)
        elif tensor.name == "mask":
            found[tensor.name] = rng.integers(0, 2, shape).astype(np.float32)
        else:
            drawn = rng.standard_normal(shape).astype(np.float32)
            found[tensor.name] = np.abs(drawn) if tensor.name == "gap" else drawn
    return found


def outputs_of(model: Model, inputs: dict[str, Array]) -> list[Array]:
    """Keras's own, in the model's order."""
    results = model([inputs[t.name] for t in model.inputs] if len(inputs) > 1 else next(iter(inputs.values())))
    results = results if isinstance(results, list | tuple) else [results]
    return [np.asarray(keras.ops.convert_to_numpy(y)) for y in results]


def export(model: Model, folder: Path) -> dict[str, Path]:
    """A model that has been called, as .keras and as .onnx, by suffix; without what says where it was made."""
    import onnx

    paths = {suffix: folder / f"network.{suffix}" for suffix in ("keras", "onnx")}
    model.save(paths["keras"])
    model.export(str(paths["onnx"]), format="onnx", verbose=False)
    proto = onnx.load(paths["onnx"])
    proto.graph.doc_string = ""
    del proto.metadata_props[:], proto.graph.metadata_props[:]
    for part in (*proto.graph.node, *proto.graph.input, *proto.graph.output, *proto.graph.value_info):
        part.doc_string = ""
        del part.metadata_props[:]
    onnx.save(proto, paths["onnx"])
    return paths
