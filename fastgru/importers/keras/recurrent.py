"""GRU, CuDNNGRU and RNN over GRU cells, one after another where cells are stacked.

Keras hands the outputs of go_backwards over in the order of the computation: the last step of the input comes first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from fastgru.conventions import from_keras_gates
from fastgru.errors import ShapeError
from fastgru.importers.keras.activations import recurrent_activation
from fastgru.importers.keras.call import Call
from fastgru.importers.keras.layer import Layer
from fastgru.importers.keras.values import Value
from fastgru.importers.keras.weights import Weights
from fastgru.spec import Activation, GRUSpec, GRUWeights

__all__ = ["RECURRENT_LAYERS", "Cell", "Recurrent", "flip", "gru", "take_step"]

RECURRENT_LAYERS: Final = frozenset({"CuDNNGRU", "GRU", "RNN"})


@dataclass(frozen=True)
class Cell:
    """One GRU cell: its arrays in our order, and what its activations are."""

    weights: GRUWeights
    reset_after: bool
    gate: Activation
    candidate: Activation
    base: str

    @property
    def hidden_size(self) -> int:
        return int(self.weights.weight_hh.shape[1])

    @property
    def input_size(self) -> int:
        return int(self.weights.weight_ih.shape[1])

    def spec(self, direction: str, time_major: bool, zero_output: bool) -> GRUSpec:
        return GRUSpec(
            self.input_size, self.hidden_size, direction, self.reset_after, (self.gate,), (self.candidate,),
            batch_first=not time_major, mask_output="zero" if zero_output else "carry",
        )  # fmt: skip

    def constants(self, call: Call) -> list[str]:
        """The names of the four arrays as the operator gru takes them, '' for an absent bias."""
        fields = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        arrays = [getattr(self.weights, field) for field in fields]
        return [
            "" if a is None else call.graph.constant(a, f"{self.base}/{field}")
            for a, field in zip(arrays, fields, strict=True)
        ]


@dataclass(frozen=True)
class Recurrent:
    """A recurrent layer, read: its cells and its switches."""

    layer: Layer
    cells: tuple[Cell, ...]
    return_sequences: bool
    return_state: bool
    go_backwards: bool
    stateful: bool
    time_major: bool
    zero_output: bool

    @classmethod
    def read(cls, call: Call, layer: Layer, weights: Weights, base: str) -> Recurrent:
        if layer.class_name not in RECURRENT_LAYERS:
            raise layer.unsupported("this recurrent layer", "only GRU layers and RNN layers of GRUCell are read")
        if layer.get("num_constants", default=None):
            raise layer.unsupported("num_constants", "GRU cells take no constants")
        return cls(
            layer,
            tuple(_read_cells(call, layer, weights, base)),
            return_sequences=layer.flag("return_sequences", default=False),
            return_state=layer.flag("return_state", default=False),
            go_backwards=layer.flag("go_backwards", default=False),
            stateful=layer.flag("stateful", default=False),
            time_major=layer.flag("time_major", default=False),
            zero_output=layer.flag("zero_output_for_mask", default=False),
        )

    @property
    def time_axis(self) -> int:
        return 0 if self.time_major else 1

    @property
    def output_size(self) -> int:
        return self.cells[-1].hidden_size

    def check_input(self, x: Value) -> None:
        if x.rank != 3:
            raise self.layer.damaged(f"an input of shape {x.shape}, expected three axes")
        if x.shape[2] not in (None, self.cells[0].input_size):
            raise self.layer.damaged(f"kernel takes {self.cells[0].input_size} features, the input has shape {x.shape}")


def gru(call: Call) -> list[Value]:
    """The outputs of a recurrent layer: y, then the states where it returns them."""
    call.check_arguments("initial_state", "mask")
    layer, graph = call.layer, call.graph
    x, initial, mask = split_arguments(call)
    recurrent = Recurrent.read(call, layer, call.weights, call.base)
    recurrent.check_input(x)
    if mask is not None and layer.class_name == "CuDNNGRU":
        raise layer.unsupported("a mask reaches this layer", "CuDNNGRU takes none in Keras either; use GRU")
    cells = recurrent.cells
    initial, targets = with_state(call, recurrent, initial, [f"{call.base}_state"])
    backwards = recurrent.go_backwards
    states: list[str] = []
    sequence = x.name
    for i, cell in enumerate(cells):
        last = i == len(cells) - 1
        spec = cell.spec("reverse" if backwards else "forward", recurrent.time_major, recurrent.zero_output and last)
        h0 = graph.add("unsqueeze", [initial[i].name], f"{cell.base}/h0", {"axes": [0]}) if initial else ""
        inputs = [sequence, h0, "", mask or "", *cell.constants(call)]
        sequence, h_n = graph.add_many("gru", inputs, [f"{cell.base}/y", f"{cell.base}/h_n"], {"spec": spec.to_dict()})
        states.append(graph.add("squeeze", [h_n], f"{cell.base}/state", {"axes": [0]}, reserved=targets[i]))
    if recurrent.return_sequences:
        y = flip(call, sequence, recurrent.time_axis, call.base) if backwards else sequence
        out = x.but(name=y, shape=(*x.shape[:2], recurrent.output_size))
        out = out.but(mask=mask if call.rules.recurrent_keeps_mask else None)
    else:
        out = x.but(name=states[-1], shape=(x.shape[1 - recurrent.time_axis], recurrent.output_size), mask=None)
        # A masked step may show zeros; a row without a visible one shows zeros, and not its initial state.
        if mask is not None and (recurrent.zero_output or initial):
            out = out.but(name=take_step(call, sequence, recurrent.time_axis, 0 if backwards else -1, call.base))
    if not recurrent.return_state:
        return [out]
    batch = x.shape[1 - recurrent.time_axis]
    kept = [x.but(name=s, shape=(batch, c.hidden_size), mask=None) for s, c in zip(states, cells, strict=True)]
    return [out, *kept]


def split_arguments(call: Call) -> tuple[Value, list[Value], str | None]:
    """The input, the initial states and the mask of a call, by the rules of its Keras."""
    if not call.inputs:
        raise call.layer.damaged("no input")
    given = call.arguments.get("initial_state")
    states = [*call.inputs[1:], *_values(call, given)]
    explicit = call.arguments.get("mask")
    if isinstance(explicit, Value):
        return call.inputs[0], states, explicit.name
    return call.inputs[0], states, None if states and call.rules.states_hide_mask else call.inputs[0].mask


def _values(call: Call, given: Any) -> list[Value]:
    items = [] if given is None else list(given) if isinstance(given, Sequence) else [given]
    flat = [inner for item in items for inner in (item if isinstance(item, list) else [item])]
    if any(not isinstance(item, Value) for item in flat):
        raise call.layer.unsupported("initial_state is not a tensor of the model", "pass it as an Input")
    return flat


def with_state(
    call: Call, recurrent: Recurrent, initial: list[Value], bases: Sequence[str]
) -> tuple[list[Value], list[str]]:
    """The initial states, inputs of the graph where the layer is stateful, and the names that their next ones take."""
    sizes = [c.hidden_size for c in recurrent.cells] * len(bases)
    if initial:
        if len(initial) != len(sizes):
            raise call.layer.damaged(f"{len(initial)} initial states, expected {len(sizes)}")
        for value, size in zip(initial, sizes, strict=True):
            if value.rank != 2 or value.shape[1] not in (None, size):
                raise call.layer.damaged(f"an initial state of shape {value.shape}, expected (batch, {size})")
        return initial, [""] * len(sizes)
    if not recurrent.stateful:
        return [], [""] * len(sizes)
    if call.calls > 1:
        raise call.layer.unsupported(
            "stateful and called more than once", "its calls would share one state; use a layer for each"
        )
    values, targets = [], []
    for n, size in enumerate(sizes):
        base = bases[n // len(recurrent.cells)]
        source, target = call.graph.add_state(base, (None, size))
        values.append(Value(source, (None, size)))
        targets.append(target)
    return values, targets


def _read_cells(call: Call, layer: Layer, weights: Weights, base: str) -> list[Cell]:
    if layer.class_name != "RNN":
        return [_read_cell(call, layer, weights.child("cell", layer), base)]
    cell = layer.inner("cell")
    if cell.class_name == "GRUCell":
        return [_read_cell(call, cell, weights.child("cell", cell), base)]
    if cell.class_name != "StackedRNNCells":
        raise layer.unsupported(f"its cell is a {cell.class_name}", "only GRUCell is read; use an RNN of GRUCell")
    if cell.flag("reverse_state_order", default=False):
        raise layer.unsupported("reverse_state_order", "build the StackedRNNCells without it")
    stacked = cell.get("cells")
    if not isinstance(stacked, list) or not stacked:
        raise cell.damaged("cells is empty or no list")
    cells = []
    for n, data in enumerate(stacked):
        inner = Layer.from_json(data, f"{cell}: cells[{n}]")
        if inner.class_name != "GRUCell":
            raise layer.unsupported(f"one of its cells is a {inner.class_name}", "only GRUCell is read")
        cells.append(_read_cell(call, inner, weights.child("cells", inner, n), f"{base}/{n}"))
    return cells


def _read_cell(call: Call, layer: Layer, weights: Weights, base: str) -> Cell:
    cudnn = layer.class_name == "CuDNNGRU"
    if cudnn:
        gate, candidate = Activation("sigmoid"), Activation("tanh")
        reset_after, use_bias = True, True
    else:
        hard = "hard_sigmoid" if call.rules.major < 3 else "sigmoid"
        gate = recurrent_activation(call, layer, "recurrent_activation", "inner_activation", default=hard)
        candidate = recurrent_activation(call, layer, "activation", default="tanh")
        reset_after = layer.flag("reset_after", default=call.rules.reset_after)
        use_bias = layer.flag("use_bias", default=True)
    units = layer.integer("units", "output_dim")
    arrays = _take_arrays(layer, weights, use_bias)
    if cudnn:
        arrays = _from_cudnn_layout(layer, arrays)
    try:
        gates = from_keras_gates(*arrays, reset_after=reset_after, what=str(layer))
    except ShapeError as error:
        raise layer.damaged(str(error).removeprefix(f"{layer}: ")) from None
    cell = Cell(gates, reset_after, gate, candidate, base)
    if cell.hidden_size != units:
        raise layer.damaged(f"units is {units}, and the recurrent kernel is of {cell.hidden_size}")
    return cell


def _take_arrays(layer: Layer, weights: Weights, use_bias: bool) -> list[Any]:
    if weights.has("W_z"):  # Keras 1 wrote nine arrays, a gate at a time
        rows = [weights.take(layer, *(f"{k}_{gate}" for gate in "zrh")) for k in ("W", "U", "b")]
        try:
            return [np.concatenate(row, axis=-1) for row in rows]
        except ValueError:
            raise layer.damaged(f"its nine arrays have shapes {[[a.shape for a in row] for row in rows]}") from None
    return weights.take(layer, "kernel", "recurrent_kernel", *(["bias"] if use_bias else []))


def _from_cudnn_layout(layer: Layer, arrays: Sequence[Any]) -> list[Any]:
    """CuDNNGRU keeps each gate's matrix as cuDNN has it, (H, I) and (H, H), in the memory of (I, H) and (H, H)."""
    kernel, recurrent, bias = arrays
    H = recurrent.shape[0] if recurrent.ndim == 2 else 0
    if recurrent.shape != (H, 3 * H) or kernel.ndim != 2 or kernel.shape[1] != 3 * H or bias.shape != (6 * H,):
        raise layer.damaged(f"its arrays have shapes {[a.shape for a in arrays]}, expected (I, 3H), (H, 3H), (6H,)")
    gates = [np.ascontiguousarray(g) for g in np.split(kernel, 3, axis=1)]
    kernel = np.concatenate([g.reshape(H, kernel.shape[0]).T for g in gates], axis=1)
    recurrent = np.concatenate([g.T for g in np.split(recurrent, 3, axis=1)], axis=1)
    return [kernel, recurrent, bias.reshape(2, 3 * H)]


def flip(call: Call, name: str, axis: int, base: str) -> str:
    """`name` with `axis` in the reverse order."""
    graph = call.graph
    last, before_first, axes = (
        graph.integers([v], f"{base}/{what}")
        for v, what in ((-1, "last"), (np.iinfo(np.int64).min, "before_first"), (axis, "time_axis"))
    )
    # One constant is both the first position and the step.
    return graph.add("slice", [name, last, before_first, axes, last], base)


def take_step(call: Call, name: str, axis: int, index: int, base: str) -> str:
    """The one step at `index`, without the axis."""
    at = call.graph.integers(index, f"{base}/step")
    return call.graph.add("gather", [name, at], base, {"axis": axis})
