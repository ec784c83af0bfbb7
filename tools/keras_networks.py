"""The networks of make_keras_golden.py: convolutions, pools, attention, and nested models."""

from typing import Any

import numpy as np

INTEGERS = ("hierarchical", "seq2seq_attention")
T, F = 6, 3

# For each group of cases, functions (keras, keras.layers) -> model by name; they return None if Keras lacks a layer.
CASES: dict[str, dict[str, Any]] = {"grus": {}, "custom": {}, "networks": {}, "recurrent": {}}


def case(group: str, **shapes: Any) -> Any:
    """Register a function that returns a model or, with `shapes` of inputs, the outputs for these inputs."""

    def register(build: Any) -> Any:
        def model(k: Any, L: Any) -> Any:
            inputs = [k.Input(shape, name=name) for name, shape in shapes.items()]
            outputs = build(k, L, *inputs)
            if outputs is None:
                return None
            return k.Model(inputs if len(inputs) > 1 else inputs[0], outputs)

        CASES[group][build.__name__] = model if shapes else build
        return build

    return register


@case("networks", x=(None, F), z=(7, 4))
def convolutions_1d(k: Any, L: Any, x: Any, z: Any) -> Any:
    return [
        L.Conv1D(5, 3, activation="relu")(x), L.Conv1D(5, 4, padding="same", strides=2)(z),
        L.Conv1D(4, 3, padding="causal", dilation_rate=2, use_bias=False)(x),
        L.Conv1D(6, 3, padding="same", dilation_rate=2, groups=2)(z), L.Conv1D(4, 1)(L.Masking(-1.0)(x)),
        L.DepthwiseConv1D(3, padding="same", depth_multiplier=2)(x), L.DepthwiseConv1D(3, strides=2)(z),
        L.SeparableConv1D(5, 3, padding="same", depth_multiplier=2, activation="tanh")(z),
        L.Conv1DTranspose(4, 4, strides=2, padding="same")(x), L.Conv1DTranspose(2, 3, strides=2)(z),
        L.Conv1DTranspose(2, 2, strides=3, use_bias=False)(z),
    ]  # fmt: skip


@case("networks", x=(6, 5, 4), z=(4, None, 6))
def convolutions_2d(k: Any, L: Any, x: Any, z: Any) -> Any:
    first = {"data_format": "channels_first"}
    return [
        L.Conv2D(5, (3, 2), strides=(2, 1), padding="same", activation="elu")(x), L.Conv2D(6, 3, groups=2)(x),
        L.Conv2D(3, (2, 3), dilation_rate=(1, 2), **first)(z),
        L.DepthwiseConv2D((2, 3), padding="same", depth_multiplier=2)(x), L.DepthwiseConv2D(3, **first)(z),
        L.SeparableConv2D(3, (3, 1), use_bias=False)(x),
        L.Conv2DTranspose(3, (4, 2), strides=2, padding="same")(x), L.Conv2DTranspose(2, (1, 3), **first)(z),
    ]  # fmt: skip


@case("networks", x=(None, F), z=(6, 5, 4))
def pools(k: Any, L: Any, x: Any, z: Any) -> Any:
    first = {"data_format": "channels_first"}
    return [
        L.MaxPooling1D()(x), L.MaxPooling1D(3, strides=2, padding="same")(x), L.AveragePooling1D(3, strides=1)(x),
        L.AveragePooling1D(3, strides=1, padding="same")(x), L.MaxPooling2D((2, 1))(z), L.MaxPooling2D(2, **first)(z),
        L.AveragePooling2D((3, 2), strides=2)(z), L.MaxPooling2D(3, strides=2, padding="same")(z),
        L.GlobalAveragePooling2D()(z), L.GlobalMaxPooling2D(keepdims=True)(z), L.GlobalAveragePooling2D(**first)(z),
        L.GlobalMaxPooling1D(**first)(x), L.GlobalAveragePooling1D(keepdims=True)(x),
    ]  # fmt: skip


@case("networks", x=(None, F), z=(6, 5, 4))
def frames(k: Any, L: Any, x: Any, z: Any) -> Any:
    first = {"data_format": "channels_first"}
    return [
        L.UpSampling1D(3)(x), L.UpSampling2D((2, 3))(z), L.UpSampling2D(2, interpolation="bilinear")(z),
        L.UpSampling2D(2, **first)(z), L.ZeroPadding1D(2)(x), L.ZeroPadding2D(((1, 0), (2, 3)))(z),
        L.ZeroPadding2D((1, 2), **first)(z), L.Cropping1D((0, 1))(x), L.Cropping2D(((1, 2), (0, 1)))(z),
        L.Cropping2D(1)(z), L.Flatten(**first)(z), L.Flatten()(z), L.Permute((3, 1, 2))(z),
    ]  # fmt: skip


@case("networks", x=(T, F), z=(T, F))
def attention(k: Any, L: Any, x: Any, z: Any) -> Any:
    m, n = L.Masking(-1.0)(x), L.Masking(0.5)(z)
    y, scores = L.Attention()([x, z], return_attention_scores=True)
    return [
        y, scores, L.Attention(use_scale=True)([x, z]), L.Attention(score_mode="concat", use_scale=True)([x, z, x]),
        L.Attention()([m, n]), L.Attention()([x, z], use_causal_mask=True), L.AdditiveAttention()([x, z]),
        L.AdditiveAttention(use_scale=False)([m, n]), L.GRU(3)(L.Attention()([m, n])),
        L.Dot(axes=2)([x, z]), L.Dot(axes=(2, 2), normalize=True)([x, z]), L.Dot(axes=(1, 1))([x, z]),
        L.Dot(axes=1)([L.GRU(4)(x), L.GRU(4)(z)]), L.Dot(axes=(2, 1))([x, L.GRU(3)(z)]),
    ]  # fmt: skip


@case("networks", source=(None,), target=(None,))
def seq2seq_attention(k: Any, L: Any, source: Any, target: Any) -> Any:
    table = L.Embedding(9, 4, mask_zero=True, name="table")
    memory, state = L.GRU(5, return_state=True, return_sequences=True, name="encoder")(table(source))
    y = L.GRU(5, return_sequences=True, name="decoder")(table(target), initial_state=state)
    context = L.Attention(name="attend")([y, memory])
    return L.TimeDistributed(L.Dense(9, activation="softmax"))(L.Concatenate()([context, y]))


@case("networks", frames=(None, 6, 5, 2), x=(4, 5, F))
def distributed(k: Any, L: Any, frames: Any, x: Any) -> Any:
    y = L.TimeDistributed(L.Conv2D(3, 3, activation="relu"), name="look")(frames)
    y = L.TimeDistributed(L.MaxPooling2D(2), name="shrink")(y)
    y = L.GRU(4, return_sequences=True)(L.TimeDistributed(L.Flatten())(y))
    tower = k.Sequential([k.Input((5, F)), L.Conv1D(4, 2), L.GRU(3), L.Dense(2, activation="tanh")], name="tower")
    a, b = k.Input((5, F)), L.Bidirectional(L.GRU(2, return_sequences=True), name="both")
    pair = k.Model(a, L.Concatenate()([b(a), L.Dense(2)(a)]), name="pair")
    return [
        y, L.TimeDistributed(tower, name="towers")(x), L.TimeDistributed(pair)(x), L.TimeDistributed(L.GRU(3))(x),
        L.TimeDistributed(L.Bidirectional(L.GRU(2)))(x), L.TimeDistributed(L.Conv1D(4, 3))(x),
        L.TimeDistributed(L.BatchNormalization(axis=1))(x), L.TimeDistributed(L.LSTM(2, return_sequences=True))(x),
    ]  # fmt: skip


@case("networks")
def hierarchical(k: Any, L: Any) -> Any:
    words = k.Input((None,), name="words")
    sentence = k.Model(words, L.GRU(4)(L.Embedding(9, 3, mask_zero=True)(words)), name="sentence")
    text = k.Input((3, 5), name="text")
    return k.Model(text, L.Dense(2)(L.GRU(3)(L.TimeDistributed(sentence, name="sentences")(text))))


@case("networks")
def speech_mask(k: Any, L: Any) -> Any:
    x = k.Input((None, 8, 1), name="spectrum")
    y = L.Conv2D(3, (2, 3), strides=(1, 2), padding="same", activation="relu")(L.ZeroPadding2D(((1, 0), (0, 0)))(x))
    y = L.BatchNormalization()(L.Cropping2D(((0, 1), (0, 0)))(y))
    features = L.Reshape((-1, 12))(y)
    gates = L.Reshape((-1, 4, 3))(L.GRU(12, return_sequences=True)(features))
    y = L.Conv2DTranspose(1, (1, 2), strides=(1, 2), activation="sigmoid")(L.Concatenate()([y, gates]))
    return k.Model(x, L.Multiply()([x, y]))


@case("networks", x=(T, F))
def distributed_masks(k: Any, L: Any, x: Any) -> Any:
    if k.__name__ == "tf_keras":
        return None
    m = L.Masking(-1.0)(x)
    ids = L.TimeDistributed(L.Embedding(5, 3))
    y = L.TimeDistributed(L.Reshape((F, 1)), name="lines")(m)
    y = L.TimeDistributed(L.Conv1D(4, 2), name="look")(y)
    y = L.TimeDistributed(L.Flatten(), name="flat")(y)
    return [L.GRU(3)(y), L.GRU(2, return_sequences=True)(L.TimeDistributed(L.Dense(3))(y)),
                       ids(k.ops.cast(k.ops.abs(x), "int32"))]  # fmt: skip


@case("networks", x=(None, 4), z=(3, 5, 4))
def other_normalisations(k: Any, L: Any, x: Any, z: Any) -> Any:
    newer = [] if k.__name__ == "tf_keras" else [L.RMSNormalization()(x)]
    return [
        *newer, L.GroupNormalization(2)(x), L.GroupNormalization(-1, scale=False)(z),
        L.GroupNormalization(1, epsilon=0.1)(z), L.GroupNormalization(3, axis=1)(z),
        L.GroupNormalization(5, axis=2, center=False)(z),
        L.UnitNormalization()(x), L.UnitNormalization(axis=[1, 2])(z),
    ]  # fmt: skip


@case("networks", x=(None, 4), z=(5, 3))
def heads(k: Any, L: Any, x: Any, z: Any) -> Any:
    y, scores = L.MultiHeadAttention(2, 3, name="scored")(x, z, return_attention_scores=True)
    g = L.GRU(4, return_sequences=True)(z)
    return [
        y, scores, L.MultiHeadAttention(3, 2, value_dim=5, use_bias=False)(x, x), L.MultiHeadAttention(1, 4)(g, z, g),
        L.MultiHeadAttention(2, 4, output_shape=6)(g, g, use_causal_mask=True),
    ]  # fmt: skip


@case("networks", x=(T, 4), z=(None, 4))
def functions_of_tensors(k: Any, L: Any, x: Any, z: Any) -> Any:
    if k.__name__ == "tf_keras":
        return None
    o = k.ops
    positive, wide = x * x + 1.0, o.transpose(x, (0, 2, 1))
    return [
        o.reshape(x, (-1, 2 * T, 2)), o.swapaxes(x, 1, 2), o.moveaxis(x, 2, 1), o.transpose(x, (0, 2, 1)),
        o.matmul(x, wide), wide @ x, o.stack([x, x], axis=1), *o.split(x, 2, axis=-1), *o.split(x, [1, 3], axis=2),
        o.flip(x, axis=1), o.pad(x, ((0, 0), (1, 2), (0, 1))), o.pad(z, ((0, 0), (2, 0), (0, 0)), constant_values=3.0),
        o.repeat(x, 2, axis=1), o.tile(x, [1, 2, 3]), o.take(x, [0, 3, -1], axis=2), o.take(x, 1, axis=2),
        o.einsum("btf,bsf->bts", x, x), o.einsum("ntf->nft", z), o.where(x > 0, x, -1.0), o.where(x > 0, positive, x),
        o.concatenate([x, positive], axis=-1), o.cumsum(x, axis=1), o.argmax(x, axis=-1) * 2 + 1,
        o.relu(x), o.relu6(x * 9.0), o.sigmoid(x), o.tanh(x), o.softplus(x), o.elu(x, 0.7), o.selu(x), o.silu(x),
        o.gelu(x), o.gelu(x, approximate=False), o.leaky_relu(x, 0.3), o.hard_sigmoid(x), o.softsign(x),
        o.softmax(x, axis=1), o.log_softmax(z), o.clip(x, -0.5, 0.7), o.power(positive, 1.5), x**2, -x, o.abs(x),
        o.exp(x), o.log(positive), o.log1p(positive), o.sqrt(positive), o.rsqrt(positive), o.square(x),
        o.reciprocal(positive), o.sign(x), o.sin(x), o.cos(x), o.erf(x), o.floor(x * 3.0),
        o.norm(x, axis=-1), o.var(x, axis=1), o.std(x, axis=-1, keepdims=True), o.prod(x, axis=-1),
        o.logsumexp(x, axis=1), o.mean(z, axis=1), (x - o.mean(x, axis=(1, 2), keepdims=True)) / positive,
    ]  # fmt: skip


@case("networks", x=(T, 4), z=(None, 4), m=(5, 5, 3))
def subscripts(k: Any, L: Any, x: Any, z: Any, m: Any) -> Any:
    if k.__name__ == "tf_keras":
        return None
    o = k.ops
    row, matrix = np.array([1, -2, 3, 0.5], np.float32), np.arange(12, dtype=np.float32).reshape(4, 3)
    return [
        x[:, None], x[..., 0], x[:, :-2:3], x[:, 1::2, 1:], x[..., None], m[:, ..., 1], m[:, 2, None, ..., ::2],
        x[:, -1], z[:, -3:], z[:, 1:-1], z[:, 0] * row, x * row, o.subtract(row, x), o.matmul(x, matrix),
        o.dot(x, matrix), x @ matrix,
        o.unstack(x, axis=2)[1], o.normalize(x, axis=1), x + o.convert_to_tensor([1.0, 2.0, 3.0, 4.0]),
        x + o.mean(x, axis=1)[:, None], o.where(x > 0, row, x), o.round(x * 3.0), o.roll(x, 2, axis=1),
        o.expand_dims(x, (1, -1)), o.where(o.isnan(x), 0.0, x), 1.0 - x,
    ]  # fmt: skip


@case("networks", x=(None, 4), z=(5, 3, 4))
def einsum_dense(k: Any, L: Any, x: Any, z: Any) -> Any:
    D = L.EinsumDense
    return [
        D("abc,cd->abd", output_shape=(None, 7), bias_axes="d", activation="tanh")(x), D("...x,xy->...y", 7)(z),
        D("abcd,de->abce", (5, 3, 2), bias_axes="ce")(z), D("abc,cde->abde", (None, 2, 3), bias_axes="de")(x),
        D("abcd,cde->abe", (5, 6), bias_axes="e")(z), D("abcd,bd->abcd", (5, 3, 4))(z),
        D("...bc,bcd->...d", (5, 3), bias_axes="d")(z), D("abc,dc->adb", (2, None))(x),
    ]  # fmt: skip
