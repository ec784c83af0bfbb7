"""The layers and forms of calls of the sweep over Keras, each from a sequence to a result.

A form is called with Keras's layers, the sequence (N, T, D), which may have a mask, and the other tensors of the model.
A form that a version of Keras does not have, or does not accept, raises an error and is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

__all__ = ["FORMS", "LAYERS", "PAIRED", "SINKS", "STORED", "Tensors", "make_inputs", "make_tensors"]

N, T, D = 4, 6, 4
HIDDEN: Final = -1.0


@dataclass(frozen=True)
class Tensors:
    """x, and m, which is x with a mask; another masked sequence n; ids (N, T), a state h (N, D), a mask b (N, T)."""

    k: Any
    inputs: Mapping[str, Any]
    m: Any
    n: Any

    def __getattr__(self, name: str) -> Any:
        return self.inputs[name]


def make_tensors(k: Any) -> Tensors:
    shapes = {"x": (T, D), "z": (T, D), "ids": (T,), "h": (D,), "c": (D,), "b": (T,)}
    types = {"ids": "int32", "b": "bool"}
    inputs = {name: k.Input(shape, name=name, dtype=types.get(name, "float32")) for name, shape in shapes.items()}
    hide = [k.layers.Masking(HIDDEN, name=f"masking_{name}")(inputs[name]) for name in "xz"]
    return Tensors(k, inputs, *hide)


def make_inputs() -> dict[str, np.ndarray]:
    """Return inputs with steps hidden at the start, at the end, inside, everywhere and nowhere."""
    rng = np.random.default_rng(7)
    x, z = (np.round(rng.normal(0, 1, (N, T, D)), 3).astype(np.float32) for _ in "xz")
    shown = np.array([[0, 1, 1, 0, 1, 1], [1, 1, 1, 0, 0, 0], [1, 1, 1, 1, 1, 1], [0, 0, 0, 0, 0, 0]], bool)
    other = np.array([[1, 1, 1, 1, 0, 0], [0, 0, 1, 1, 1, 1], [1, 0, 1, 0, 1, 1], [1, 1, 0, 0, 0, 0]], bool)
    x[~shown], z[~other] = HIDDEN, HIDDEN
    ids = rng.integers(1, 9, (N, T)) * other
    h, c = (np.round(rng.normal(0, 1, (N, D)), 3).astype(np.float32) for _ in "hc")
    b = np.array([[1, 1, 0, 1, 1, 0], [0, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1], [1, 0, 0, 0, 0, 0]], bool)
    return {"x": x, "z": z, "ids": ids.astype(np.int32), "h": h, "c": c, "b": b}


Form = Callable[[Any, Any, Tensors], Any]
FORMS: Final[dict[str, Form]] = {}
# For forms of one layer and one tensor: the functions that make the layer.
LAYERS: Final[dict[str, Callable[[Any], Any]]] = {}


def form(name: str) -> Callable[[Form], Form]:
    def enter(function: Form) -> Form:
        FORMS[name] = function
        return function

    return enter


def fit(L: Any, y: Any) -> Any:
    """Return y with D features. Dense passes its mask on."""
    return y if y.shape[-1] == D else L.Dense(D)(y)


def _plain(name: str, *args: Any, **keys: Any) -> None:
    label = "-".join([name, *map(str, args), *(f"{k}={v}" for k, v in keys.items())]).replace(" ", "")
    LAYERS[label] = lambda L: getattr(L, name)(*args, **keys)
    FORMS[label] = lambda L, y, e: LAYERS[label](L)(y)


for _name in ("Dropout", "GaussianDropout", "GaussianNoise", "SpatialDropout1D", "AlphaDropout"):
    _plain(_name, 0.3)
for _name in ("ActivityRegularization", "BatchNormalization", "LayerNormalization", "UnitNormalization", "ELU", "ReLU",
              "LeakyReLU", "PReLU", "Softmax", "ThresholdedReLU", "RMSNormalization", "Flatten", "Identity",
              "GlobalMaxPooling1D", "GlobalAveragePooling1D"):  # fmt: skip
    _plain(_name)
_plain("GlobalAveragePooling1D", keepdims=True)
_plain("GlobalAveragePooling1D", data_format="channels_first")
_plain("Dense", 3)
_plain("Activation", "tanh")
_plain("Activation", "linear")
_plain("Activation", "softmax")
_plain("GroupNormalization", 2)
_plain("LayerNormalization", axis=[1, 2])
_plain("Rescaling", 0.5)
_plain("Masking", HIDDEN)
_plain("Masking", 0.0)
_plain("Conv1D", 3, 2, padding="same")
_plain("Conv1D", 4, 3, padding="causal", activation="relu")
_plain("SeparableConv1D", 3, 2)
_plain("DepthwiseConv1D", 2, padding="same")
_plain("Conv1DTranspose", 3, 2)
_plain("MaxPooling1D", 2)
_plain("AveragePooling1D", 3, strides=1, padding="valid")
_plain("UpSampling1D", 2)
_plain("ZeroPadding1D", 1)
_plain("Cropping1D", (0, 1))
_plain("Permute", (2, 1))
_plain("Permute", (1, 2))
_plain("Reshape", (-1, 2))
_plain("EinsumDense", "abc,cd->abd", output_shape=(None, 3))
for _name in ("GRU", "LSTM", "SimpleRNN"):
    _plain(_name, 4)
    _plain(_name, 4, return_sequences=True)
    _plain(_name, 4, return_sequences=True, go_backwards=True)
    _plain(_name, 4, go_backwards=True)
    _plain(_name, 4, return_sequences=True, unroll=True)
    _plain(_name, 4, return_sequences=True, zero_output_for_mask=True)
    _plain(_name, 4, zero_output_for_mask=True)
    _plain(_name, 4, return_sequences=True, dropout=0.2, recurrent_dropout=0.1)
_plain("GRU", 4, return_sequences=True, reset_after=False)
_plain("ConvLSTM1D", 2, 2)
_plain("Attention")


@form("mask=")
def _explicit(L: Any, y: Any, e: Tensors) -> Any:
    return L.GRU(4, return_sequences=True)(y, mask=e.b)


@form("Bidirectional-mask=")
def _explicit_pair(L: Any, y: Any, e: Tensors) -> Any:
    return L.Bidirectional(L.GRU(4, return_sequences=True))(y, mask=e.b)


@form("TimeDistributed-mask=")
def _explicit_distributed(L: Any, y: Any, e: Tensors) -> Any:
    return L.TimeDistributed(L.Dense(3))(y, mask=e.b)


@form("GlobalAveragePooling1D-mask=")
def _explicit_mean(L: Any, y: Any, e: Tensors) -> Any:
    return L.GlobalAveragePooling1D()(y, mask=e.b)


def _with_states(name: str, kind: str, **keys: Any) -> None:
    def call(L: Any, y: Any, e: Tensors) -> Any:
        states = [e.h, e.c][: 2 if name == "LSTM" else 1]
        layer = getattr(L, name)(4, **keys)
        if kind == "list":
            return layer([y, *states])
        if kind == "position":
            return layer(y, states if name == "LSTM" else e.h)
        if kind == "mask":
            return layer(y, initial_state=states, mask=e.b)
        return layer(y, initial_state=states if name == "LSTM" or kind == "lists" else e.h)

    FORMS["-".join([name, "state", kind, *(f"{k}={v}" for k, v in keys.items())])] = call


for _name in ("GRU", "LSTM", "SimpleRNN"):
    for _kind in ("name", "lists", "list", "position", "mask"):
        _with_states(_name, _kind, return_sequences=True)
    _with_states(_name, "name")
    _with_states(_name, "name", return_sequences=True, zero_output_for_mask=True)
    _with_states(_name, "name", go_backwards=True, return_sequences=True)
    _with_states(_name, "name", go_backwards=True)


def _returning(name: str, which: int, **keys: Any) -> None:
    def call(L: Any, y: Any, e: Tensors) -> Any:
        made = getattr(L, name)(4, return_state=True, **keys)(y)
        return made[which] if which >= 0 else L.GRU(4, return_sequences=True)(y, initial_state=made[1])

    FORMS["-".join([name, "returns", str(which), *(f"{k}={v}" for k, v in keys.items())])] = call


for _name in ("GRU", "LSTM"):
    for _which in (0, 1, -1):
        _returning(_name, _which, return_sequences=True)
    _returning(_name, 0)


def _pair(name: str, merge: Any, kind: str, **keys: Any) -> None:
    def call(L: Any, y: Any, e: Tensors) -> Any:
        layer = L.Bidirectional(getattr(L, name)(4, **keys), merge_mode=merge)
        states = [e.h, e.c, e.c, e.h] if name == "LSTM" else [e.h, e.c]
        if kind == "list":
            made = layer([y, *states])
        else:
            made = layer(y) if kind == "plain" else layer(y, initial_state=states)
        made = made if isinstance(made, list | tuple) else [made]
        return made[1] if kind == "second" else made[0]

    FORMS["-".join(["Bidirectional", name, str(merge), kind, *(f"{k}={v}" for k, v in keys.items())])] = call


for _name in ("GRU", "LSTM"):
    for _merge in ("concat", "sum", "mul", "ave", None):
        _pair(_name, _merge, "plain", return_sequences=True)
        _pair(_name, _merge, "plain")
    for _kind in ("name", "list"):
        _pair(_name, "concat", _kind, return_sequences=True)
        _pair(_name, "concat", _kind)
    _pair(_name, "sum", "plain", return_sequences=True, return_state=True)
    _pair(_name, None, "plain", return_sequences=True, return_state=True)
    _pair(_name, "sum", "name", return_sequences=True, return_state=True)
    _pair(_name, "sum", "plain", return_sequences=True, zero_output_for_mask=True)


@form("RNN-cell")
def _cell(L: Any, y: Any, e: Tensors) -> Any:
    return L.RNN(L.GRUCell(4), return_sequences=True)(y)


@form("RNN-cell-state")
def _cell_state(L: Any, y: Any, e: Tensors) -> Any:
    return L.RNN(L.GRUCell(4), return_sequences=True)(y, initial_state=e.h)


@form("RNN-stacked")
def _stacked(L: Any, y: Any, e: Tensors) -> Any:
    return L.RNN([L.GRUCell(3), L.LSTMCell(4)], return_sequences=True)(y)


@form("RNN-stacked-returns")
def _stacked_returns(L: Any, y: Any, e: Tensors) -> Any:
    return L.RNN([L.GRUCell(3), L.SimpleRNNCell(4)], return_sequences=True, return_state=True)(y)[0]


@form("RNN-stacked-zero")
def _stacked_zero(L: Any, y: Any, e: Tensors) -> Any:
    return L.RNN([L.GRUCell(3), L.GRUCell(4)], return_sequences=True, zero_output_for_mask=True)(y)


@form("Bidirectional-RNN")
def _pair_of_rnn(L: Any, y: Any, e: Tensors) -> Any:
    return L.Bidirectional(L.RNN(L.GRUCell(4), return_sequences=True))(y)


@form("Bidirectional-unlike")
def _pair_unlike(L: Any, y: Any, e: Tensors) -> Any:
    back = L.LSTM(4, return_sequences=True, go_backwards=True)
    return L.Bidirectional(L.GRU(4, return_sequences=True), backward_layer=back)(y)


def _distributed(label: str, make: Callable[[Any, Any], Any]) -> None:
    FORMS[f"TimeDistributed-{label}"] = lambda L, y, e: L.TimeDistributed(make(L, e.k))(y)


for _label, _make in {
    "Dense": lambda L, k: L.Dense(3), "Activation": lambda L, k: L.Activation("tanh"),
    "Dropout": lambda L, k: L.Dropout(0.2), "BatchNormalization": lambda L, k: L.BatchNormalization(),
    "LayerNormalization": lambda L, k: L.LayerNormalization(), "Softmax": lambda L, k: L.Softmax(),
    "Reshape": lambda L, k: L.Reshape((2, 2)), "RepeatVector": lambda L, k: L.RepeatVector(2),
    "Sequential": lambda L, k: k.Sequential([k.Input((D,)), L.Dense(3), L.Dense(D, activation="relu")]),
    "Flatten": lambda L, k: L.Flatten(), "ReLU": lambda L, k: L.ReLU(), "PReLU": lambda L, k: L.PReLU(),
    "UnitNormalization": lambda L, k: L.UnitNormalization(), "Masking": lambda L, k: L.Masking(HIDDEN),
    "Identity": lambda L, k: L.Identity(), "EinsumDense": lambda L, k: L.EinsumDense("ab,bc->ac", 3),
    "TimeDistributed": lambda L, k: L.TimeDistributed(L.Dense(3)),
}.items():  # fmt: skip
    _distributed(_label, _make)


def _twice(label: str, make: Callable[[Any], Any]) -> None:
    """Add a form that spreads every step over two, so that the inner layer gets a sequence."""
    FORMS[f"TimeDistributed-{label}"] = lambda L, y, e: L.TimeDistributed(make(L))(
        L.TimeDistributed(L.Reshape((2, 2)))(fit(L, y))
    )


for _label, _deep in {
    "GRU": lambda L: L.GRU(3), "GRU-sequences": lambda L: L.GRU(3, return_sequences=True),
    "Bidirectional": lambda L: L.Bidirectional(L.GRU(3)), "Conv1D": lambda L: L.Conv1D(3, 2),
    "GlobalAveragePooling1D": lambda L: L.GlobalAveragePooling1D(), "Flatten-deep": lambda L: L.Flatten(),
    "GlobalMaxPooling1D": lambda L: L.GlobalMaxPooling1D(), "Dense-deep": lambda L: L.Dense(3),
    "BatchNormalization-deep": lambda L: L.BatchNormalization(), "Softmax-deep": lambda L: L.Softmax(),
    "Masking-GRU": lambda L: L.Masking(0.0), "MaxPooling1D": lambda L: L.MaxPooling1D(),
}.items():  # fmt: skip
    _twice(_label, _deep)


def _merging(name: str, other: str, **keys: Any) -> None:
    def call(L: Any, y: Any, e: Tensors) -> Any:
        with_it = {"self": y, "plain": e.x, "masked": e.n}[other]
        first = y if other == "self" else fit(L, y)
        return getattr(L, name)(**keys)([first, with_it])

    def reverse(L: Any, y: Any, e: Tensors) -> Any:
        return getattr(L, name)(**keys)([e.x, fit(L, y)])

    label = "-".join([name, other, *(f"{k}={v}" for k, v in keys.items())])
    FORMS[label] = call
    if other == "plain":
        FORMS[f"{label}-first"] = reverse


for _name in ("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum"):
    for _other in ("self", "plain", "masked"):
        _merging(_name, _other)
for _axis in (-1, 1, 2):
    for _other in ("self", "plain", "masked"):
        _merging("Concatenate", _other, axis=_axis)
for _other in ("self", "plain", "masked"):
    _merging("Dot", _other, axes=2)
    _merging("Dot", _other, axes=1)
    _merging("Attention", _other)
    _merging("AdditiveAttention", _other)


@form("Add-three")
def _three(L: Any, y: Any, e: Tensors) -> Any:
    return L.Add()([fit(L, y), e.n, e.m])


@form("Multiply-three")
def _product_of_three(L: Any, y: Any, e: Tensors) -> Any:
    return L.Multiply()([fit(L, y), e.n, e.x])


@form("Concatenate-three")
def _joined(L: Any, y: Any, e: Tensors) -> Any:
    return L.Concatenate()([y, e.x, e.n])


@form("Add-broadcast")
def _broadcast(L: Any, y: Any, e: Tensors) -> Any:
    return L.Add()([fit(L, y), L.Reshape((1, D))(e.h)])


@form("Add-one")
def _one(L: Any, y: Any, e: Tensors) -> Any:
    return L.Concatenate()([y])


@form("Attention-three")
def _attention_of_three(L: Any, y: Any, e: Tensors) -> Any:
    return L.Attention()([fit(L, y), e.n, e.z])


@form("Attention-scores")
def _scores(L: Any, y: Any, e: Tensors) -> Any:
    return L.Attention()([fit(L, y), e.n], return_attention_scores=True)[0]


@form("Attention-causal")
def _causal(L: Any, y: Any, e: Tensors) -> Any:
    return L.Attention()([fit(L, y), e.n], use_causal_mask=True)


@form("Attention-mask=")
def _attention_masks(L: Any, y: Any, e: Tensors) -> Any:
    return L.Attention()([fit(L, y), e.n], mask=[e.b, e.b])


@form("Attention-mask=none")
def _attention_mask_none(L: Any, y: Any, e: Tensors) -> Any:
    return L.Attention()([fit(L, y), e.n], mask=[None, e.b])


@form("MultiHeadAttention-self")
def _heads_self(L: Any, y: Any, e: Tensors) -> Any:
    return L.MultiHeadAttention(2, 3)(y, y)


@form("MultiHeadAttention-plain")
def _heads_plain(L: Any, y: Any, e: Tensors) -> Any:
    return L.MultiHeadAttention(2, 3)(e.x, y)


@form("MultiHeadAttention-query")
def _heads_query(L: Any, y: Any, e: Tensors) -> Any:
    return L.MultiHeadAttention(2, 3)(y, e.x)


@form("Sequential")
def _inner_chain(L: Any, y: Any, e: Tensors) -> Any:
    return e.k.Sequential([e.k.Input((None, y.shape[-1])), L.Dense(4), L.GRU(4, return_sequences=True)])(y)


@form("Sequential-drops")
def _inner_drops(L: Any, y: Any, e: Tensors) -> Any:
    return e.k.Sequential([e.k.Input((None, y.shape[-1])), L.Conv1D(4, 2, padding="same"), L.Dense(3)])(y)


@form("Functional")
def _inner(L: Any, y: Any, e: Tensors) -> Any:
    a = e.k.Input((None, y.shape[-1]))
    return e.k.Model(a, L.Dense(3)(L.Bidirectional(L.GRU(3, return_sequences=True))(a)))(y)


@form("Functional-two")
def _inner_of_two(L: Any, y: Any, e: Tensors) -> Any:
    a, b = e.k.Input((None, y.shape[-1])), e.k.Input((None, D))
    return e.k.Model([a, b], L.Concatenate()([L.GRU(3, return_sequences=True)(a), b]))([y, e.n])


@form("Functional-masking")
def _inner_masking(L: Any, y: Any, e: Tensors) -> Any:
    a = e.k.Input((None, y.shape[-1]))
    return e.k.Model(a, L.Masking(0.0)(a))(y)


@form("Functional-states")
def _inner_states(L: Any, y: Any, e: Tensors) -> Any:
    a, h = e.k.Input((None, y.shape[-1])), e.k.Input((D,))
    return e.k.Model([a, h], L.GRU(4, return_sequences=True)(a, initial_state=h))([y, e.h])


@form("Functional-attention")
def _inner_attention(L: Any, y: Any, e: Tensors) -> Any:
    a = e.k.Input((None, D))
    return e.k.Model(a, L.Attention()([a, a]))(fit(L, y))


@form("Functional-outputs")
def _inner_outputs(L: Any, y: Any, e: Tensors) -> Any:
    a = e.k.Input((None, y.shape[-1]))
    made = e.k.Model(a, [L.GRU(4, return_sequences=True)(a), L.Dense(3)(a)])(y)
    return L.Concatenate()(list(made))


@form("Functional-mask=")
def _inner_mask(L: Any, y: Any, e: Tensors) -> Any:
    a = e.k.Input((None, y.shape[-1]))
    return e.k.Model(a, L.GRU(4, return_sequences=True)(a))(y, mask=e.b)


@form("shared")
def _shared(L: Any, y: Any, e: Tensors) -> Any:
    layer = L.GRU(4, return_sequences=True)
    return L.Concatenate()([layer(fit(L, y)), layer(e.x)])


@form("shared-add")
def _shared_sum(L: Any, y: Any, e: Tensors) -> Any:
    layer = L.GRU(4, return_sequences=True)
    return L.Add()([layer(e.n), layer(fit(L, y))])


@form("Embedding")
def _embedded(L: Any, y: Any, e: Tensors) -> Any:
    return L.Add()([L.Embedding(9, D, mask_zero=True)(e.ids), fit(L, y)])


@form("Embedding-state")
def _embedded_state(L: Any, y: Any, e: Tensors) -> Any:
    state = L.GRU(4, return_state=True)(y)[1]
    return L.GRU(4, return_sequences=True)(L.Embedding(9, 3, mask_zero=True)(e.ids), initial_state=state)


@form("RepeatVector")
def _repeated(L: Any, y: Any, e: Tensors) -> Any:
    return L.RepeatVector(3)(L.GRU(3)(y))


def _function(label: str, call: Callable[[Any, Any], Any]) -> None:
    def apply(L: Any, y: Any, e: Tensors) -> Any:
        return call(e.k.ops, y)

    FORMS[f"ops-{label}"] = apply


for _label, _call in {
    "add": lambda o, y: y + 1.0, "cast": lambda o, y: o.cast(y, "float32"), "relu": lambda o, y: o.relu(y),
    "convert": lambda o, y: o.convert_to_tensor(y), "slice": lambda o, y: y[:, :-1], "all": lambda o, y: y[:, :],
    "concatenate": lambda o, y: o.concatenate([y, y], axis=-1), "reshape": lambda o, y: o.reshape(y, (-1, T, D)),
    "sum": lambda o, y: y + y, "stop_gradient": lambda o, y: o.stop_gradient(y), "identity": lambda o, y: o.copy(y),
    "squeeze": lambda o, y: o.squeeze(o.expand_dims(y, 1), 1), "transpose": lambda o, y: o.transpose(y, (0, 1, 2)),
    "tile": lambda o, y: o.tile(y, [1, 1, 1]), "repeat": lambda o, y: o.repeat(y, 1, axis=1),
    "clip": lambda o, y: o.clip(y, -0.5, 0.5), "where": lambda o, y: o.where(y > 0, y, 0.0),
    "moveaxis": lambda o, y: o.moveaxis(y, 1, 1), "flip": lambda o, y: o.flip(y, 1),
    "pad": lambda o, y: o.pad(y, ((0, 0), (0, 0), (0, 0))), "leaky_relu": lambda o, y: o.leaky_relu(y, 0.1),
    "real": lambda o, y: o.real(y), "round": lambda o, y: o.round(y), "softmax": lambda o, y: o.softmax(y),
    "mean": lambda o, y: o.mean(y, axis=1), "roll": lambda o, y: o.roll(y, 0, axis=1),
    "split": lambda o, y: o.split(y, 1, axis=1)[0], "broadcast": lambda o, y: o.broadcast_to(y, (N, T, D)),
    "swapaxes": lambda o, y: o.swapaxes(y, 1, 1), "nan_to_num": lambda o, y: o.nan_to_num(y),
}.items():  # fmt: skip
    _function(_label, _call)


def _flat(L: Any, y: Any) -> Any:
    return L.TimeDistributed(L.Flatten())(y) if len(y.shape) == 4 else y


# Ends of models that reveal whether a mask arrives.
SINKS: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "itself": lambda L, y: y,
    "GRU": lambda L, y: L.GRU(2)(_flat(L, y)),
    "mean": lambda L, y: L.GlobalAveragePooling1D()(_flat(L, y)),
    "Attention": lambda L, y: L.Attention()([_flat(L, y), _flat(L, y)]),
}

# Forms that are tried after each other in all pairs. They cover every way to treat a mask.
PAIRED: Final = (
    "Dropout-0.3", "BatchNormalization", "LayerNormalization", "PReLU", "RMSNormalization", "Identity", "Dense-3",
    "Rescaling-0.5", "GroupNormalization-2", "UnitNormalization", "Activation-softmax", "Masking-0.0",
    "Conv1D-3-2-padding=same", "MaxPooling1D-2", "Permute-(1,2)", "EinsumDense-abc,cd->abd-output_shape=(None,3)",
    "GlobalAveragePooling1D", "GRU-4-return_sequences=True", "GRU-4", "LSTM-4-return_sequences=True",
    "GRU-4-return_sequences=True-go_backwards=True", "GRU-4-return_sequences=True-zero_output_for_mask=True",
    "GRU-state-name-return_sequences=True", "GRU-state-list-return_sequences=True",
    "GRU-state-mask-return_sequences=True", "LSTM-state-name-return_sequences=True", "mask=",
    "GRU-returns-0-return_sequences=True", "GRU-returns--1-return_sequences=True", "RNN-stacked", "RNN-cell-state",
    "Bidirectional-GRU-concat-plain-return_sequences=True", "Bidirectional-GRU-None-plain-return_sequences=True",
    "Bidirectional-GRU-concat-name-return_sequences=True", "Bidirectional-LSTM-sum-plain",
    "Bidirectional-LSTM-sum-plain-return_sequences=True-return_state=True", "TimeDistributed-Dense",
    "TimeDistributed-Sequential", "TimeDistributed-mask=", "Add-self", "Add-plain", "Add-masked", "Add-three",
    "Multiply-masked", "Multiply-plain", "Maximum-masked", "Concatenate-self-axis=-1", "Concatenate-plain-axis=-1",
    "Concatenate-masked-axis=-1", "Concatenate-masked-axis=1", "Attention-self", "Attention-plain", "Attention-masked",
    "Attention-plain-first", "AdditiveAttention-masked", "Sequential", "Functional", "Functional-two",
    "Functional-states", "Functional-masking", "Functional-attention", "shared", "Embedding-state", "ops-cast",
    "ops-add",
)  # fmt: skip

# The tests have files, with Keras's results, of each form in PAIRED after each of these.
STORED: Final = (
    "Identity", "Masking-0.0", "GRU-4-return_sequences=True", "GRU-state-name-return_sequences=True",
    "GRU-state-list-return_sequences=True", "mask=", "Bidirectional-GRU-None-plain-return_sequences=True",
    "TimeDistributed-Dense", "Add-masked", "Multiply-masked", "Concatenate-masked-axis=1", "Attention-masked",
    "Functional-masking", "Embedding-state",
)  # fmt: skip
