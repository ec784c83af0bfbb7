"""Write tests/data/keras/<name>.zip: small models saved by Keras, in both its formats, with its own outputs.

    KERAS_BACKEND=torch python tools/make_keras_golden.py keras keras3     # Keras 3
    python tools/make_keras_golden.py tf_keras keras2                      # Keras 2, as pip install tf_keras gives it
    KERAS_BACKEND=torch python tools/make_keras_golden.py keras keras3_recurrent   # LSTM and SimpleRNN
    KERAS_BACKEND=torch python tools/make_keras_golden.py keras keras3_networks    # convolutions, pools, attention
    python tools/make_keras_golden.py tf_keras keras2_networks

The zip holds <case>.keras, <case>.h5 and <case>.npz: the inputs by name, the outputs as out0, out1..., and for a
stateful model those of a second call as again0...
"""

from __future__ import annotations

import importlib
import io
import os
import sys
import tempfile
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from keras_networks import INTEGERS, NETWORK_CASES, F, T

HERE = Path(__file__).resolve().parent.parent / "tests" / "data" / "keras"
CASES: dict[str, Any] = {}
RECURRENT_CASES: dict[str, Any] = {}


def case(function: Any) -> Any:
    CASES[function.__name__] = function
    return function


def recurrent_case(function: Any) -> Any:
    RECURRENT_CASES[function.__name__] = function
    return function


@case
def sequential(k: Any, L: Any) -> Any:
    first, second = L.GRU(5, return_sequences=True), L.GRU(4, reset_after=False)
    return k.Sequential([k.Input((None, F)), first, L.Dropout(0.5), second, L.Dense(3, activation="softmax")])


@case
def gate_functions(k: Any, L: Any) -> Any:
    x = k.Input((T, F), name="x")
    return k.Model(x, [
        L.GRU(4, recurrent_activation="hard_sigmoid", activation="relu", use_bias=False)(x),
        L.GRU(4, recurrent_activation="hard_sigmoid", activation="linear", reset_after=False, return_sequences=True)(x),
        L.GRU(4, activation="softsign", unroll=True)(x),
        L.GRU(4, activation="elu", recurrent_activation="softsign")(x),
    ])  # fmt: skip


@case
def masking(k: Any, L: Any) -> Any:
    return k.Sequential([k.Input((T, F)), L.Masking(-1.0), L.GRU(4, return_sequences=True), L.GaussianNoise(0.1),
                         L.Dense(3, activation="tanh"), L.GRU(4), L.BatchNormalization()])  # fmt: skip


@case
def embedding(k: Any, L: Any) -> Any:
    return k.Sequential([k.Input((T,)), L.Embedding(7, 4, mask_zero=True),
                         L.Bidirectional(L.GRU(3, return_sequences=True), merge_mode="sum"),
                         L.TimeDistributed(L.Dense(3, activation="relu")), L.GRU(2)])  # fmt: skip


@case
def go_backwards(k: Any, L: Any) -> Any:
    x = k.Input((T, F), name="x")
    m = L.Masking(-1.0)(x)
    return k.Model(x, [
        L.GRU(4, go_backwards=True, return_sequences=True)(x),
        L.GRU(4, go_backwards=True)(x),
        L.GRU(4, go_backwards=True, return_sequences=True)(m),
        L.GRU(4, go_backwards=True)(m),
    ])  # fmt: skip


@case
def bidirectional_merges(k: Any, L: Any) -> Any:
    x = k.Input((T, F), name="x")
    m = L.Masking(-1.0)(x)
    outputs = []
    for n, merge in enumerate(("concat", "sum", "mul", "ave", None)):
        for sequences in (True, False):
            source = m if (n + sequences) % 2 else x
            y = L.Bidirectional(L.GRU(3, return_sequences=sequences), merge_mode=merge)(source)
            outputs += list(y) if merge is None else [y]
    return k.Model(x, outputs)


@case
def bidirectional_masked_last(k: Any, L: Any) -> Any:
    x = k.Input((T, F), name="x")
    m = L.Masking(-1.0)(x)
    y = L.Bidirectional(L.GRU(3, return_sequences=True), merge_mode="ave")(m)
    return k.Model(x, [y, L.Bidirectional(L.GRU(3), merge_mode="concat")(y)])


@case
def bidirectional_states(k: Any, L: Any) -> Any:
    x, f, b = k.Input((T, F), name="x"), k.Input((4,), name="f"), k.Input((4,), name="b")
    layer = L.Bidirectional(L.GRU(4, return_sequences=True, return_state=True), merge_mode="concat", name="both")
    return k.Model([x, f, b], list(layer(x, initial_state=[f, b])))


@case
def bidirectional_unlike(k: Any, L: Any) -> Any:
    x = k.Input((T, F), name="x")
    other = L.GRU(2, activation="relu", return_sequences=True, go_backwards=True, reset_after=False, name="other")
    ahead = L.GRU(4, return_sequences=True, name="ahead")
    back = L.GRU(4, return_sequences=True, go_backwards=True)
    unlike = L.Bidirectional(L.GRU(4, return_sequences=True), backward_layer=other, name="unlike")
    crossed = L.Bidirectional(back, backward_layer=ahead, merge_mode="mul", name="crossed")
    return k.Model(x, [unlike(x), crossed(x)])


@case
def encoder_decoder(k: Any, L: Any) -> Any:
    source, target = k.Input((None,), name="source"), k.Input((None,), name="target")
    table = L.Embedding(9, 4, name="table")
    _, state = L.GRU(5, return_state=True, name="encoder")(table(source))
    y, last = L.GRU(5, return_state=True, return_sequences=True, name="decoder")(table(target), initial_state=state)
    return k.Model([source, target], [L.Dense(9, activation="softmax", name="out")(y), last])


@case
def masked_with_state(k: Any, L: Any) -> Any:
    x, h = k.Input((T, F), name="x"), k.Input((4,), name="h")
    return k.Model([x, h], L.GRU(4, return_sequences=True)(L.Masking(-1.0)(x), initial_state=h))


@case
def stateful(k: Any, L: Any) -> Any:
    keys = {"batch_input_shape": (2, 4, F)} if k.__name__ == "tf_keras" else {}
    first = [] if keys else [k.Input(batch_shape=(2, 4, F))]
    return k.Sequential([*first, L.GRU(4, stateful=True, return_sequences=True, name="low", **keys),
                         L.Bidirectional(L.GRU(3, stateful=True), name="high")])  # fmt: skip


@case
def nested(k: Any, L: Any) -> Any:
    a, b = k.Input((T, F), name="a"), k.Input((T, F), name="b")
    s, t = k.Input((T, F)), k.Input((T, F))
    floors = [k.Input((T, F)), L.Dense(4, activation="relu"), L.BatchNormalization(), L.GRU(3, name="gru_in")]
    tower = k.Sequential(floors, name="tower")
    pair = k.Model([s, t], [L.Add()([s, t]), L.GRU(2, name="pair_gru")(L.Subtract()([s, t]))], name="pair")
    total, small = pair([a, b])
    shared = L.GRU(3, name="shared")
    joined = L.Concatenate()([tower(a), tower(total), shared(a), shared(b), small])
    return k.Model([a, b], [L.Dense(2, name="out")(joined)])


@case
def nested_twice(k: Any, L: Any) -> Any:
    x = k.Input((T, F), name="x")
    inner = k.Sequential([k.Input((T, F)), L.GRU(4, return_sequences=True), L.BatchNormalization()], name="inner")
    middle = k.Sequential([k.Input((T, F)), inner, L.Dense(F)], name="middle")
    return k.Model(x, L.GRU(2)(middle(middle(x))))


@case
def functions(k: Any, L: Any) -> Any:
    x = k.Input((T, F), name="x")
    names = ["elu", "exponential", "gelu", "hard_sigmoid", "linear", "relu", "selu", "sigmoid", "softmax", "softplus"]
    names += ["softsign", "swish", "tanh"]
    outputs = [L.Activation(name)(x) for name in names]
    slope = "alpha" if k.__name__ == "tf_keras" else "negative_slope"
    outputs += [
        L.LeakyReLU(**{slope: 0.2})(x),
        L.ELU(0.7)(x),
        L.PReLU()(x),
        L.PReLU(shared_axes=[1])(x),
        L.Softmax(1)(x),
    ]
    outputs += [L.ReLU()(x), L.ReLU(1.0)(x), L.ReLU(1.0, 0.3, 0.2)(x), L.ReLU(None, 0.3)(x), L.ReLU(None, 0.0, 0.4)(x)]
    if k.__name__ == "tf_keras":
        outputs.append(L.ThresholdedReLU(0.3)(x))
    else:
        outputs += [L.Activation(name)(x) for name in ("hard_silu", "log_softmax", "mish", "relu6", "leaky_relu")]
    return k.Model(x, outputs)


@case
def merges(k: Any, L: Any) -> Any:
    x, z = k.Input((T, F), name="x"), k.Input((T, F), name="z")
    m, n = L.Masking(-1.0)(x), L.Masking(0.5)(z)
    outputs = []
    for layer in (L.Add, L.Multiply, L.Average, L.Subtract, L.Maximum, L.Minimum, L.Concatenate):
        outputs += [layer()([x, z]), L.GRU(2)(layer()([m, n]))]
    outputs += [L.GRU(2)(L.Add()([m, z])), L.GRU(2)(L.Concatenate()([m, z])), L.Concatenate(1)([x, z])]
    outputs += [L.GRU(2)(L.Concatenate(axis=1)([m, n]))]
    return k.Model([x, z], outputs)


@case
def shapes(k: Any, L: Any) -> Any:
    x = k.Input((T, F), name="x")
    m = L.Masking(-1.0)(x)
    return k.Model(x, [
        L.Flatten()(x), L.Reshape((2, -1))(x), L.Permute((2, 1))(x), L.RepeatVector(3)(L.GRU(2)(x)),
        L.Cropping1D((1, 2))(x), L.ZeroPadding1D((2, 1))(x), L.GlobalMaxPooling1D()(x), L.GlobalAveragePooling1D()(x),
        L.GlobalAveragePooling1D()(m),
    ])  # fmt: skip


@case
def normalisations(k: Any, L: Any) -> Any:
    x = k.Input((T, F), name="x")
    return k.Model(x, [
        L.BatchNormalization()(x), L.BatchNormalization(axis=1, scale=False)(x), L.LayerNormalization()(x),
        L.LayerNormalization(axis=[1, 2], epsilon=0.1, center=False)(x), L.Normalization()(x), L.Rescaling(0.5, 1.0)(x),
        L.TimeDistributed(L.BatchNormalization())(x),
    ])  # fmt: skip


@case
def cells(k: Any, L: Any) -> Any:
    x = k.Input((T, F), name="x")
    m = L.Masking(-1.0)(x)
    stacked = [L.GRUCell(4, name="zeta"), L.GRUCell(2, reset_after=False, name="alpha")]
    y = L.RNN(stacked, return_sequences=True, return_state=True, name="stacked")(m)
    return k.Model(x, [
        *(item for part in y for item in (part if isinstance(part, (list, tuple)) else [part])),
        L.RNN(L.GRUCell(3), go_backwards=True)(x),
        L.RNN(L.GRUCell(3), return_sequences=True, zero_output_for_mask=True)(m),
        L.RNN(L.GRUCell(3), zero_output_for_mask=True)(m),
    ])  # fmt: skip


@case
def operations(k: Any, L: Any) -> Any:
    if k.__name__ == "tf_keras":
        return None
    x = k.Input((T, F), name="x")
    y = L.GRU(4, return_sequences=True)(x)
    return k.Model(
        x, [y[:, -1] * 2.0, y[:, 1:3, 0], k.ops.mean(y, axis=1) - y[:, 0, :], 1.0 / k.ops.max(y + 3.0, axis=-1)]
    )


@case
def time_major(k: Any, L: Any) -> Any:
    if k.__name__ != "tf_keras":
        return None
    x = k.Input((None, F), name="x")
    return k.Model(
        x, [L.GRU(4, time_major=True, return_sequences=True, go_backwards=True)(x), L.GRU(4, time_major=True)(x)]
    )


@recurrent_case
def other_layers(k: Any, L: Any) -> Any:
    x = k.Input((T, F), name="x")
    m = L.Masking(-1.0)(x)
    outputs = []
    for layer in (L.LSTM, L.SimpleRNN):
        outputs += [
            layer(4, return_sequences=True)(x),
            layer(3, activation="relu", use_bias=False)(x),
            layer(3, return_sequences=True)(m),
            layer(3, go_backwards=True)(m),
            layer(3, go_backwards=True, return_sequences=True)(x),
        ]
    hard = {"recurrent_activation": "hard_sigmoid", "activation": "softsign"}
    outputs += [L.LSTM(3, **hard)(x), L.SimpleRNN(3, activation="linear", unroll=True)(x)]
    return k.Model(x, outputs)


@recurrent_case
def other_bidirectional(k: Any, L: Any) -> Any:
    x = k.Input((T, F), name="x")
    m = L.Masking(-1.0)(x)
    states = [k.Input((4,), name=name) for name in ("fh", "fc", "bh", "bc")]
    layer = L.Bidirectional(L.LSTM(4, return_sequences=True, return_state=True), name="both")
    outputs = list(layer(x, initial_state=states))
    outputs += [
        L.Bidirectional(L.LSTM(3, return_sequences=True), merge_mode="sum")(m),
        L.Bidirectional(L.LSTM(3), merge_mode="ave")(m),
        L.Bidirectional(L.SimpleRNN(3, return_sequences=True))(m),
        L.Bidirectional(L.SimpleRNN(3), merge_mode="mul")(x),
        L.Bidirectional(L.SimpleRNN(2), backward_layer=L.LSTM(5, go_backwards=True, name="other"), name="unlike")(x),
    ]
    return k.Model([x, *states], outputs)


@recurrent_case
def encoder_decoder_lstm(k: Any, L: Any) -> Any:
    source, target = k.Input((None,), name="source"), k.Input((None,), name="target")
    table = L.Embedding(9, 4, name="table")
    _, *states = L.LSTM(5, return_state=True, name="encoder")(table(source))
    y, h, c = L.LSTM(5, return_state=True, return_sequences=True, name="decoder")(table(target), initial_state=states)
    return k.Model([source, target], [L.Dense(9, activation="softmax", name="out")(y), h, c])


@recurrent_case
def stateful_lstm(k: Any, L: Any) -> Any:
    return k.Sequential([k.Input(batch_shape=(2, 4, F)),
                         L.LSTM(4, stateful=True, return_sequences=True, name="low"),
                         L.GRU(3, stateful=True, return_sequences=True, name="middle"),
                         L.Bidirectional(L.LSTM(3, stateful=True), name="high")])  # fmt: skip


@recurrent_case
def other_cells(k: Any, L: Any) -> Any:
    x = k.Input((T, F), name="x")
    m = L.Masking(-1.0)(x)
    stacked = [L.LSTMCell(4, name="zeta"), L.GRUCell(2, name="mid"), L.LSTMCell(3, name="alpha"), L.SimpleRNNCell(2)]
    y = L.RNN(stacked, return_sequences=True, return_state=True, name="stacked")(m)
    return k.Model(x, [
        *(item for part in y for item in (part if isinstance(part, (list, tuple)) else [part])),
        L.RNN(L.LSTMCell(3), go_backwards=True)(x),
        L.RNN(L.SimpleRNNCell(3), return_sequences=True, zero_output_for_mask=True)(m),
    ])  # fmt: skip


def randomise(model: Any, rng: np.random.Generator) -> None:
    """Weights that no initialiser would give, so that one in the wrong place is seen."""
    values = []
    for array in model.get_weights():
        scale = 1.0 / np.sqrt(array.shape[0]) if array.ndim == 2 else 0.3
        values.append(
            np.abs(rng.normal(0.5, 0.2, array.shape)) if array.ndim == 1 else rng.normal(0, scale, array.shape)
        )
    model.set_weights([v.astype(a.dtype) for v, a in zip(values, model.get_weights(), strict=True)])


def make_input(tensor: Any, stem: str, rng: np.random.Generator) -> np.ndarray:
    shape = [2 if i == 0 else (5 if s is None else int(s)) for i, s in enumerate(tensor.shape)]
    if stem in ("embedding", "encoder_decoder", "encoder_decoder_lstm", *INTEGERS):
        x = rng.integers(1, 7, shape)
        x[0, -2:], x[1, :1] = (0, 0) if stem == "embedding" else (x[0, -2:], x[1, :1])
        return x.astype(np.float32)
    x = rng.normal(0, 1, shape).astype(np.float32)
    if len(shape) == 3 and shape[1] == T:  # steps that Masking(-1) and Masking(0.5) hide: at both ends, and inside
        x[0, 0], x[0, 3], x[1, 4:] = -1.0, -1.0, 0.5 if tensor.name.startswith("z") else -1.0
        x[1, 1] = 0.5
    return x


def main() -> None:
    module, name = sys.argv[1:3]
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    warnings.simplefilter("ignore")
    k = importlib.import_module(module)
    HERE.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(HERE / f"{name}.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:

        def put(member: str, content: bytes) -> None:
            archive.writestr(zipfile.ZipInfo(member, (2020, 1, 1, 0, 0, 0)), content, zipfile.ZIP_DEFLATED, 9)

        groups = {"recurrent": RECURRENT_CASES, "networks": NETWORK_CASES}
        for stem, build in groups.get(name.rpartition("_")[2], CASES).items():
            k.utils.set_random_seed(0)
            rng = np.random.default_rng(sum(map(ord, stem)))
            model = build(k, k.layers)
            if model is None:
                continue
            randomise(model, rng)
            names = [t.name for t in model.inputs]
            inputs = [make_input(t, stem, rng) for t in model.inputs]
            with tempfile.TemporaryDirectory() as folder:
                for suffix in ("keras", "h5"):
                    path = f"{folder}/model.{suffix}"
                    model.save(path)
                    put(f"{stem}.{suffix}", Path(path).read_bytes())
            outputs = {}
            for call in ("out", "again") if stem.startswith("stateful") else ("out",):
                result = model(inputs if len(inputs) > 1 else inputs[0], training=False)
                result = result if isinstance(result, list | tuple) else [result]
                arrays = [k.ops.convert_to_numpy(r) if module == "keras" else r.numpy() for r in result]
                outputs.update({f"{call}{n}": a for n, a in enumerate(arrays)})
            buffer = io.BytesIO()
            np.savez(buffer, **{f"in:{n}": x for n, x in zip(names, inputs, strict=True)}, **outputs)
            put(f"{stem}.npz", buffer.getvalue())
            print(f"{stem}: {len(outputs)} outputs")
        put("version.txt", k.__version__.encode())
    print(f"{(HERE / name).with_suffix('.zip').stat().st_size} bytes")


if __name__ == "__main__":
    main()
