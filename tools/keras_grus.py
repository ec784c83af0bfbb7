"""The models with GRUs of make_keras_golden.py, by name."""

from typing import Any

from keras_networks import F, T, case


@case("grus")
def sequential(k: Any, L: Any) -> Any:
    first, second = L.GRU(5, return_sequences=True), L.GRU(4, reset_after=False)
    return k.Sequential([k.Input((None, F)), first, L.Dropout(0.5), second, L.Dense(3, activation="softmax")])


@case("grus", x=(T, F))
def gate_functions(k: Any, L: Any, x: Any) -> Any:
    return [
        L.GRU(4, recurrent_activation="hard_sigmoid", activation="relu", use_bias=False)(x),
        L.GRU(4, recurrent_activation="hard_sigmoid", activation="linear", reset_after=False, return_sequences=True)(x),
        L.GRU(4, activation="softsign", unroll=True)(x),
        L.GRU(4, activation="elu", recurrent_activation="softsign")(x),
    ]  # fmt: skip


@case("grus")
def masking(k: Any, L: Any) -> Any:
    return k.Sequential([k.Input((T, F)), L.Masking(-1.0), L.GRU(4, return_sequences=True), L.GaussianNoise(0.1),
                         L.Dense(3, activation="tanh"), L.GRU(4), L.BatchNormalization()])  # fmt: skip


@case("grus")
def embedding(k: Any, L: Any) -> Any:
    return k.Sequential([k.Input((T,)), L.Embedding(7, 4, mask_zero=True),
                         L.Bidirectional(L.GRU(3, return_sequences=True), merge_mode="sum"),
                         L.TimeDistributed(L.Dense(3, activation="relu")), L.GRU(2)])  # fmt: skip


@case("grus", x=(T, F))
def go_backwards(k: Any, L: Any, x: Any) -> Any:
    m = L.Masking(-1.0)(x)
    return [
        L.GRU(4, go_backwards=True, return_sequences=True)(x),
        L.GRU(4, go_backwards=True)(x),
        L.GRU(4, go_backwards=True, return_sequences=True)(m),
        L.GRU(4, go_backwards=True)(m),
    ]  # fmt: skip


@case("grus", x=(T, F))
def bidirectional_merges(k: Any, L: Any, x: Any) -> Any:
    m = L.Masking(-1.0)(x)
    outputs = []
    for n, merge in enumerate(("concat", "sum", "mul", "ave", None)):
        for sequences in (True, False):
            source = m if (n + sequences) % 2 else x
            y = L.Bidirectional(L.GRU(3, return_sequences=sequences), merge_mode=merge)(source)
            outputs += list(y) if merge is None else [y]
    return outputs


@case("grus", x=(T, F))
def bidirectional_masked_last(k: Any, L: Any, x: Any) -> Any:
    m = L.Masking(-1.0)(x)
    y = L.Bidirectional(L.GRU(3, return_sequences=True), merge_mode="ave")(m)
    return [y, L.Bidirectional(L.GRU(3), merge_mode="concat")(y)]


@case("grus", x=(T, F), f=(4,), b=(4,))
def bidirectional_states(k: Any, L: Any, x: Any, f: Any, b: Any) -> Any:
    layer = L.Bidirectional(L.GRU(4, return_sequences=True, return_state=True), merge_mode="concat", name="both")
    return list(layer(x, initial_state=[f, b]))


@case("grus", x=(T, F))
def bidirectional_unlike(k: Any, L: Any, x: Any) -> Any:
    other = L.GRU(2, activation="relu", return_sequences=True, go_backwards=True, reset_after=False, name="other")
    ahead = L.GRU(4, return_sequences=True, name="ahead")
    back = L.GRU(4, return_sequences=True, go_backwards=True)
    unlike = L.Bidirectional(L.GRU(4, return_sequences=True), backward_layer=other, name="unlike")
    crossed = L.Bidirectional(back, backward_layer=ahead, merge_mode="mul", name="crossed")
    return [unlike(x), crossed(x)]


@case("grus", source=(None,), target=(None,))
def encoder_decoder(k: Any, L: Any, source: Any, target: Any) -> Any:
    table = L.Embedding(9, 4, name="table")
    _, state = L.GRU(5, return_state=True, name="encoder")(table(source))
    y, last = L.GRU(5, return_state=True, return_sequences=True, name="decoder")(table(target), initial_state=state)
    return [L.Dense(9, activation="softmax", name="out")(y), last]


@case("grus", x=(T, F), h=(4,))
def masked_with_state(k: Any, L: Any, x: Any, h: Any) -> Any:
    return L.GRU(4, return_sequences=True)(L.Masking(-1.0)(x), initial_state=h)


@case("grus")
def stateful(k: Any, L: Any) -> Any:
    keys = {"batch_input_shape": (2, 4, F)} if k.__name__ == "tf_keras" else {}
    first = [] if keys else [k.Input(batch_shape=(2, 4, F))]
    return k.Sequential([*first, L.GRU(4, stateful=True, return_sequences=True, name="low", **keys),
                         L.Bidirectional(L.GRU(3, stateful=True), name="high")])  # fmt: skip


@case("grus", a=(T, F), b=(T, F))
def nested(k: Any, L: Any, a: Any, b: Any) -> Any:
    s, t = k.Input((T, F)), k.Input((T, F))
    floors = [k.Input((T, F)), L.Dense(4, activation="relu"), L.BatchNormalization(), L.GRU(3, name="gru_in")]
    tower = k.Sequential(floors, name="tower")
    pair = k.Model([s, t], [L.Add()([s, t]), L.GRU(2, name="pair_gru")(L.Subtract()([s, t]))], name="pair")
    total, small = pair([a, b])
    shared = L.GRU(3, name="shared")
    joined = L.Concatenate()([tower(a), tower(total), shared(a), shared(b), small])
    return [L.Dense(2, name="out")(joined)]


@case("grus", x=(T, F))
def nested_twice(k: Any, L: Any, x: Any) -> Any:
    inner = k.Sequential([k.Input((T, F)), L.GRU(4, return_sequences=True), L.BatchNormalization()], name="inner")
    middle = k.Sequential([k.Input((T, F)), inner, L.Dense(F)], name="middle")
    return L.GRU(2)(middle(middle(x)))


@case("grus", x=(T, F))
def functions(k: Any, L: Any, x: Any) -> Any:
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
    return outputs


@case("grus", x=(T, F), z=(T, F))
def merges(k: Any, L: Any, x: Any, z: Any) -> Any:
    m, n = L.Masking(-1.0)(x), L.Masking(0.5)(z)
    outputs = []
    for layer in (L.Add, L.Multiply, L.Average, L.Subtract, L.Maximum, L.Minimum, L.Concatenate):
        outputs += [layer()([x, z]), L.GRU(2)(layer()([m, n]))]
    outputs += [L.GRU(2)(L.Add()([m, z])), L.GRU(2)(L.Concatenate()([m, z])), L.Concatenate(1)([x, z])]
    outputs += [L.GRU(2)(L.Concatenate(axis=1)([m, n]))]
    return outputs


@case("grus", x=(T, F))
def shapes(k: Any, L: Any, x: Any) -> Any:
    m = L.Masking(-1.0)(x)
    return [
        L.Flatten()(x), L.Reshape((2, -1))(x), L.Permute((2, 1))(x), L.RepeatVector(3)(L.GRU(2)(x)),
        L.Cropping1D((1, 2))(x), L.ZeroPadding1D((2, 1))(x), L.GlobalMaxPooling1D()(x), L.GlobalAveragePooling1D()(x),
        L.GlobalAveragePooling1D()(m),
    ]  # fmt: skip


@case("grus", x=(T, F))
def normalisations(k: Any, L: Any, x: Any) -> Any:
    return [
        L.BatchNormalization()(x), L.BatchNormalization(axis=1, scale=False)(x), L.LayerNormalization()(x),
        L.LayerNormalization(axis=[1, 2], epsilon=0.1, center=False)(x), L.Normalization()(x), L.Rescaling(0.5, 1.0)(x),
        L.TimeDistributed(L.BatchNormalization())(x),
    ]  # fmt: skip


@case("grus", x=(T, F))
def cells(k: Any, L: Any, x: Any) -> Any:
    m = L.Masking(-1.0)(x)
    stacked = [L.GRUCell(4, name="zeta"), L.GRUCell(2, reset_after=False, name="alpha")]
    y = L.RNN(stacked, return_sequences=True, return_state=True, name="stacked")(m)
    return [
        *(item for part in y for item in (part if isinstance(part, (list, tuple)) else [part])),
        L.RNN(L.GRUCell(3), go_backwards=True)(x),
        L.RNN(L.GRUCell(3), return_sequences=True, zero_output_for_mask=True)(m),
        L.RNN(L.GRUCell(3), zero_output_for_mask=True)(m),
    ]  # fmt: skip


@case("grus", x=(T, F))
def operations(k: Any, L: Any, x: Any) -> Any:
    if k.__name__ == "tf_keras":
        return None
    y = L.GRU(4, return_sequences=True)(x)
    return [y[:, -1] * 2.0, y[:, 1:3, 0], k.ops.mean(y, axis=1) - y[:, 0, :], 1.0 / k.ops.max(y + 3.0, axis=-1)]


@case("grus", x=(None, F))
def time_major(k: Any, L: Any, x: Any) -> Any:
    if k.__name__ != "tf_keras":
        return None
    return [L.GRU(4, time_major=True, return_sequences=True, go_backwards=True)(x), L.GRU(4, time_major=True)(x)]
