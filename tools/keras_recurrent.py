"""The models with LSTM and SimpleRNN of make_keras_golden.py, by name."""

from typing import Any

from keras_networks import F, T, case


@case("recurrent", x=(T, F))
def other_layers(k: Any, L: Any, x: Any) -> Any:
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
    return outputs


@case("recurrent")
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


@case("recurrent", source=(None,), target=(None,))
def encoder_decoder_lstm(k: Any, L: Any, source: Any, target: Any) -> Any:
    table = L.Embedding(9, 4, name="table")
    _, *states = L.LSTM(5, return_state=True, name="encoder")(table(source))
    y, h, c = L.LSTM(5, return_state=True, return_sequences=True, name="decoder")(table(target), initial_state=states)
    return [L.Dense(9, activation="softmax", name="out")(y), h, c]


@case("recurrent")
def stateful_lstm(k: Any, L: Any) -> Any:
    return k.Sequential([k.Input(batch_shape=(2, 4, F)),
                         L.LSTM(4, stateful=True, return_sequences=True, name="low"),
                         L.GRU(3, stateful=True, return_sequences=True, name="middle"),
                         L.Bidirectional(L.LSTM(3, stateful=True), name="high")])  # fmt: skip


@case("recurrent", x=(T, F))
def other_cells(k: Any, L: Any, x: Any) -> Any:
    m = L.Masking(-1.0)(x)
    stacked = [L.LSTMCell(4, name="zeta"), L.GRUCell(2, name="mid"), L.LSTMCell(3, name="alpha"), L.SimpleRNNCell(2)]
    y = L.RNN(stacked, return_sequences=True, return_state=True, name="stacked")(m)
    return [
        *(item for part in y for item in (part if isinstance(part, (list, tuple)) else [part])),
        L.RNN(L.LSTMCell(3), go_backwards=True)(x),
        L.RNN(L.SimpleRNNCell(3), return_sequences=True, zero_output_for_mask=True)(m),
    ]  # fmt: skip
