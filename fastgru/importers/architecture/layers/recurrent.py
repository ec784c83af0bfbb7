"""GRU, LSTM and RNN, stacks and cells, with the weights of torch: every layer and direction is found by key.

The gates of a GRU are r, z, n in torch and here; those of an LSTM are i, f, g, o in torch, and i, o, f, g here. States
have torch's shape (layers * directions, N, H), also with batch_first.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from fastgru.arrays import Array
from fastgru.errors import ShapeError
from fastgru.graphbuilder import Value
from fastgru.importers.architecture.registry import DescribedLayer, layer_type, shown
from fastgru.spec import Activation, GRUSpec, LSTMSpec, RecurrentSpec, RNNSpec

Parts = tuple[tuple[str, Value], ...]
Constants = list[Value | None]

_KEY: Final = re.compile(r"(?:weight|bias)_[ih]h_l(0|[1-9]\d{0,3})(?:_reverse)?")
_SPECS: Final[Mapping[str, type[RecurrentSpec]]] = {"GRU": GRUSpec, "LSTM": LSTMSpec, "RNN": RNNSpec}
_SIZES: Final = "input_size hidden_size num_layers bidirectional bias"


@layer_type(
    *("GRU", "LSTM"),
    options="batch_first lengths",
    sizes=_SIZES,
    training="dropout",
    inputs=(1, 3),
    weights=True,
    states=True,
)
@layer_type(
    *("RNN",),
    options="batch_first lengths nonlinearity",
    sizes=_SIZES,
    training="dropout",
    inputs=(1, 2),
    weights=True,
    states=True,
)
def _stack(layer: DescribedLayer) -> Parts:
    """x (T, N, I), or (N, T, I) with batch_first -> y (..., D * H) and the last states (L * D, N, H).

    Further inputs are the initial states. lengths: the name of an int64 value (N,), or true for the input "lengths".
    """
    layer.need_rank(3, form="3 axes: (T, N, I), or (N, T, I) with batch_first")
    batch_first = layer.options.flag("batch_first", False)
    row = 0 if batch_first else 1
    num_layers, suffixes = _found(layer)
    D, I = len(suffixes), layer.x.shape[-1]
    names, I, H = _weights(layer, [f"_l0{suffix}" for suffix in suffixes], I)
    stack = [(names, I)]
    for k in range(1, num_layers):
        names, I, H = _weights(layer, [f"_l{k}{suffix}" for suffix in suffixes], D * H, H)
        stack.append((names, I))
    layer.check_sizes(input_size=stack[0][1], hidden_size=H)
    dims = (None, layer.x.dims[row], None)
    initial = _initial(layer, layer.form((num_layers * D, layer.x.shape[row], H), dims))
    each = [_cut(layer, state, D, num_layers) for state in initial]
    lengths = layer.asked_lengths(row)
    spec = _spec(layer, D, H, batch_first)
    x, finals = layer.x, []
    for k, (names, I) in enumerate(stack):
        name = "" if k == num_layers - 1 else f"l{k}"
        x, last = _emit(layer, [x, *(rows[k] for rows in each)], lengths, names, {**spec, "input_size": I}, name)
        finals.append(last)
    ends = [rows[0] if len(rows) == 1 else layer.apply("concat", *rows, axis=0) for rows in zip(*finals, strict=True)]
    return (("", x), *((f"{s}_n", value) for s, value in zip(_SPECS[layer.type].STATES, ends, strict=True)))


@layer_type(*("GRUCell", "LSTMCell"), sizes="input_size hidden_size bias", inputs=(1, 3), weights=True, states=True)
@layer_type(
    *("RNNCell",),
    options="nonlinearity",
    sizes="input_size hidden_size bias",
    inputs=(1, 2),
    weights=True,
    states=True,
)
def _cell(layer: DescribedLayer) -> Parts:
    """x (N, I) and states (N, H) -> the next h (N, H), also named "h_n", and for an LSTM "c_n"."""
    layer.need_rank(2, form="2 axes: (N, I)")
    names, I, H = _weights(layer, [""], layer.x.shape[-1])
    layer.check_sizes(input_size=I, hidden_size=H)
    before = _initial(layer, layer.form((layer.x.shape[0], H), (layer.x.dims[0], None)))
    wide = [None if value is None else layer.apply("unsqueeze", value, axes=[0]) for value in (*before, layer.x)]
    form = {**_spec(layer, 1, H, False), "input_size": I}
    _, after = _emit(layer, [wide[-1], *wide[:-1]], None, names, form, "step")
    ends = [layer.apply("squeeze", value, axes=[0]) for value in after]
    states = _SPECS[layer.type.removesuffix("Cell")].STATES
    return (("", ends[0]), *((f"{s}_n", value) for s, value in zip(states, ends, strict=True)))


def _found(layer: DescribedLayer) -> tuple[int, tuple[str, ...]]:
    """Return (number of layers, suffix of the keys of each direction)."""
    names = layer.parameters.names()
    if any(name.startswith("weight_hr_l") for name in names):
        raise layer.unsupported("an LSTM with proj_size", "export the network to ONNX")
    matches = {name: match for name in names if (match := _KEY.fullmatch(name))}
    num_layers = 1 + max((int(match[1]) for match in matches.values()), default=0)
    suffixes = ("", "_reverse") if any(name.endswith("_reverse") for name in matches) else ("",)
    layer.check_sizes(num_layers=num_layers, bidirectional=len(suffixes) == 2)
    return min(num_layers, len(matches) + 1), suffixes


def _weights(
    layer: DescribedLayer, ends: Sequence[str], I: int | None, H: int | None = None
) -> tuple[Constants, int, int]:
    """Return (constants of every direction in the operator's order, I, H). ends: suffixes of each direction's keys."""
    kind = _SPECS[layer.type.removesuffix("Cell")]
    has_bias = layer.parameters.has(f"bias_ih{ends[0]}") or layer.parameters.has(f"bias_hh{ends[0]}")
    layer.check_sizes(bias=has_bias)
    names: list[Value | None] = []
    for end in ends:
        G = kind.GATES
        form = f"{G}H" if G > 1 else "H"
        weight_hh = layer.parameters.take(f"weight_hh{end}", (form if H is None else G * H, "H" if H is None else H))
        rows, H = weight_hh.shape
        if rows != G * H:
            gates = {4: "; four gates are an LSTM's", 3: "; three are a GRU's", 1: "; one is a plain RNN's"}
            key, hint = layer.parameters.key(f"weight_hh{end}"), gates.get(rows // H if H else 0, "")
            raise ShapeError(f"{layer}: {key!r} has shape {weight_hh.shape}, expected ({form}, H){hint}")
        why = f": its input {layer.input_names[0]!r} is {shown(layer.x)}"
        weight_ih = layer.parameters.take(f"weight_ih{end}", (rows, "I" if I is None else I), why=why)
        I = weight_ih.shape[1]
        arrays = {"weight_ih": weight_ih, "weight_hh": weight_hh}
        for part in ("bias_ih", "bias_hh") if has_bias else ():
            arrays[part] = layer.parameters.take(f"{part}{end}", (rows,))
        names += [layer.stored(f"{part}{end}", _in_order(kind, array)) for part, array in arrays.items()]
        names += [None] * (len(kind.from_dict({"input_size": 1, "hidden_size": 1}).weight_shapes) - len(arrays))
    assert I is not None
    assert H is not None
    return names, I, H


def _in_order(kind: type[RecurrentSpec], array: Array) -> Array:
    if kind is not LSTMSpec:
        return array
    i, f, g, o = np.split(array, 4)
    return np.concatenate((i, o, f, g))


def _spec(layer: DescribedLayer, D: int, H: int, batch_first: bool) -> dict[str, Any]:
    """Return the fields of the spec that all layers of the stack have; input_size is 1."""
    kind = _SPECS[layer.type.removesuffix("Cell")]
    more: dict[str, Any] = {"direction": "bidirectional" if D == 2 else "forward", "batch_first": batch_first}
    if kind is RNNSpec:
        more["activations"] = (Activation(layer.options.choice("nonlinearity", ("tanh", "relu"), "tanh")),) * D
    return kind.from_dict({"input_size": 1, "hidden_size": H, **more}).to_dict()


def _initial(layer: DescribedLayer, form: Value) -> list[Value | None]:
    """Return the initial states: further inputs, or states that the layer opens, or None for each."""
    names = _SPECS[layer.type.removesuffix("Cell")].STATES
    given = layer.inputs[1:]
    if given and layer.states:
        raise layer.invalid("initial states are given as inputs and in `states`: give only one of the two")
    if (came := len(layer.states or given)) not in (0, len(names)):
        raise layer.invalid(f"got {came} states, expected {len(names)}: {', '.join(names)}")
    if layer.states:
        return [layer.open_state(name, form) for name in layer.states]
    for index, state in enumerate(given, 1):
        pairs = zip(state.shape, form.shape, strict=False)
        if len(state.shape) != len(form.shape) or any(m not in (None, n) for m, n in pairs if n is not None):
            raise layer.wrong_input(shown(form), index)
    return list(given) or [None] * len(names)


def _cut(layer: DescribedLayer, state: Value | None, rows: int, count: int) -> Sequence[Value | None]:
    """Split a state into the states of the layers of a stack."""
    if state is None or count == 1:
        return [state] * count
    return layer.add("split", [state], ["h0"] * count, axis=0, sizes=[rows] * count)


def _emit(
    layer: DescribedLayer,
    inputs: Sequence[Value | None],
    lengths: Value | None,
    weights: Constants,
    spec: Mapping[str, Any],
    name: str,
) -> tuple[Value, tuple[Value, ...]]:
    """Add one recurrent node; return its output and its last states. inputs: x and the initial states."""
    kind = _SPECS[layer.type.removesuffix("Cell")]
    x, h, *more = inputs
    given = [x, h, lengths, None, *more, *weights]
    out, *last = layer.add(kind.KIND.lower(), given, [name, *(f"{s}_n" for s in kind.STATES)], spec=dict(spec))
    return out, tuple(last)
