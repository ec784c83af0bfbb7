"""Recurrent cells: their arrays in the order of this package, and their activations."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Any, Final

import numpy as np

from fastgru.conventions import from_keras_gates, from_keras_lstm, from_keras_rnn
from fastgru.errors import ShapeError
from fastgru.graphbuilder import Value
from fastgru.importers.keras.call import Call, Tensor
from fastgru.importers.keras.config import LayerConfig
from fastgru.importers.keras.layers.activation import recurrent_activation
from fastgru.importers.keras.weights import LayerWeights
from fastgru.records import dataclass
from fastgru.spec import RECURRENT, SIGMOID, TANH, Activation, GRUWeights, LSTMWeights, RecurrentSpec, RNNWeights

__all__ = ["CELLS", "RecurrentCell", "read_cell", "read_cells"]

# Class of a layer or of a cell -> operator.
_OPERATORS: Final[Mapping[str, str]] = {
    "CuDNNGRU": "gru",
    "CuDNNLSTM": "lstm",
    "GRU": "gru",
    "GRUCell": "gru",
    "LSTM": "lstm",
    "LSTMCell": "lstm",
    "SimpleRNN": "rnn",
    "SimpleRNNCell": "rnn",
}
CELLS: Final = frozenset(name for name in _OPERATORS if name.endswith("Cell"))
_CONVERT: Final[Mapping[str, Callable[..., Any]]] = {
    "gru": from_keras_gates,
    "lstm": from_keras_lstm,
    "rnn": from_keras_rnn,
}
_KERAS_1_GATES: Final = {"gru": "zrh", "lstm": "ifco"}


@dataclass(frozen=True)
class RecurrentCell:
    """One cell: its operator, its arrays in our order, and the fields of its spec that depend on the cell."""

    op: str
    weights: GRUWeights | LSTMWeights | RNNWeights
    fields: Mapping[str, Any]
    base: str
    home: str

    @property
    def hidden_size(self) -> int:
        return int(self.weights.weight_hh.shape[1])

    @property
    def input_size(self) -> int:
        return int(self.weights.weight_ih.shape[1])

    @property
    def states(self) -> tuple[str, ...]:
        """The names of the states."""
        return RECURRENT[self.op].STATES

    def spec(self, direction: str, time_major: bool, zero_output: bool) -> RecurrentSpec:
        kind: Any = RECURRENT[self.op]
        spec: RecurrentSpec = kind(
            self.input_size, self.hidden_size, direction, batch_first=not time_major,
            mask_output="zero" if zero_output else "carry", **self.fields,
        )  # fmt: skip
        return spec

    def constants(self, call: Call) -> list[Value | None]:
        """Return the arrays as inputs of the operator, with None for absent ones."""
        arrays = {field.name: getattr(self.weights, field.name) for field in fields(self.weights)}
        return [None if a is None else call.graph.constant(a, f"{self.home}/{name}") for name, a in arrays.items()]

    def emit(
        self, call: Call, x: Value, initial: Sequence[Tensor], mask: Value | None, spec: RecurrentSpec
    ) -> tuple[Value, list[Value]]:
        """Add the operator; return its output sequence, in the order of time, and its last states.

        initial: the initial states, or an empty sequence.
        """
        graph = call.graph
        before: list[Value | None] = [
            graph.add("unsqueeze", [value.value], f"{self.base}/{name}0", {"axes": [0]})
            for name, value in zip(self.states, initial, strict=False)
        ] or [None] * len(self.states)
        inputs = [x, before[0], None, mask, *before[1:], *self.constants(call)]
        bases = [f"{self.base}/y", *(f"{self.base}/{name}_n" for name in self.states)]
        y, *last = graph.add_many(self.op, inputs, bases, {"spec": spec.to_dict()}, label=self.base)
        names = [f"{self.base}/{'cell' if n else 'state'}" for n in range(len(last))]
        return y, [graph.add("squeeze", [one], name, {"axes": [0]}) for one, name in zip(last, names, strict=True)]


def read_cells(call: Call, layer: LayerConfig, weights: LayerWeights, below: str) -> list[RecurrentCell]:
    """Return the cells of a recurrent layer. below: their path inside the layer that is called."""
    if layer.class_name != "RNN":
        return [read_cell(call, layer, weights.child("cell", layer), below)]
    cell = layer.inner("cell")
    if cell.class_name in CELLS:
        return [read_cell(call, cell, weights.child("cell", cell), below)]
    known = ", ".join(sorted(CELLS))
    if cell.class_name != "StackedRNNCells":
        raise layer.unsupported(
            f"its cell is of the class {cell.class_name}",
            f"the classes that are read are {known}; use an RNN of one of them",
        )
    if cell.flag("reverse_state_order", default=False):
        raise layer.unsupported("reverse_state_order", "build the StackedRNNCells without it")
    stacked = cell.get("cells")
    if not isinstance(stacked, list) or not stacked:
        raise cell.damaged("cells must be a list with at least one cell")
    cells: list[RecurrentCell] = []
    counts: Counter[str] = Counter()
    for n, data in enumerate(stacked):
        inner = LayerConfig.from_json(data, f"{cell}: cells[{n}]")
        if inner.class_name not in CELLS:
            raise layer.unsupported(
                f"one of its cells is of the class {inner.class_name}", f"the classes that are read are {known}"
            )
        here = weights.child("cells", inner, counts[inner.class_name])
        counts[inner.class_name] += 1
        cells.append(read_cell(call, inner, here, f"{below}/{n}"))
    return cells


def read_cell(call: Call, layer: LayerConfig, weights: LayerWeights, below: str = "") -> RecurrentCell:
    """Return a cell, or the cell inside a layer."""
    op = _OPERATORS[layer.class_name]
    cudnn = layer.class_name.startswith("CuDNN")
    units = layer.integer("units", "output_dim")
    arrays = _take_arrays(layer, op, weights, cudnn or layer.flag("use_bias", default=True))
    if cudnn:
        arrays = _from_cudnn_layout(layer, arrays, RECURRENT[op].GATES)
    own = _functions(call, layer, op, cudnn)
    convert = _CONVERT[op]
    options = {}
    if op == "gru":
        own["reset_after"] = cudnn or layer.flag("reset_after", default=call.rules.reset_after)
        options["reset_after"] = own["reset_after"]
    if op == "lstm" and cudnn:
        arrays[2] = arrays[2].sum(axis=0)
    try:
        gates = convert(*arrays, **options, what=str(layer))
    except ShapeError as error:
        raise layer.damaged(str(error).removeprefix(f"{layer}: ")) from None
    cell = RecurrentCell(op, gates, own, f"{call.base}{below}", f"{call.home}{below}")
    if cell.hidden_size != units:
        raise layer.damaged(f"units is {units}, and the recurrent kernel is of {cell.hidden_size}")
    return cell


def _functions(call: Call, layer: LayerConfig, op: str, cudnn: bool) -> dict[str, Any]:
    """Return the activations by the fields of the spec; an LSTM uses the candidate's activation for its cell, too."""
    gate, candidate = SIGMOID, TANH
    if not cudnn:
        candidate = recurrent_activation(call, layer, "activation", default="tanh")
    if op == "rnn":
        return {"activations": (candidate,)}
    if not cudnn:
        hard = "hard_sigmoid" if call.rules.major < 3 else "sigmoid"
        gate = recurrent_activation(call, layer, "recurrent_activation", "inner_activation", default=hard)
    found: dict[str, tuple[Activation, ...]] = {"gate_activations": (gate,), "candidate_activations": (candidate,)}
    return {**found, "cell_activations": (candidate,)} if op == "lstm" else dict(found)


def _take_arrays(layer: LayerConfig, op: str, weights: LayerWeights, use_bias: bool) -> list[Any]:
    letters = _KERAS_1_GATES.get(op, "")
    if letters and weights.has(f"W_{letters[0]}"):  # Keras 1 wrote one array per gate
        rows = [weights.take(layer, *(f"{k}_{gate}" for gate in letters)) for k in ("W", "U", "b")]
        try:
            return [np.concatenate(row, axis=-1) for row in rows]
        except ValueError:
            raise layer.damaged(f"its gates' arrays have shapes {[[a.shape for a in row] for row in rows]}") from None
    return weights.take(layer, "kernel", "recurrent_kernel", *(["bias"] if use_bias else []))


def _from_cudnn_layout(layer: LayerConfig, arrays: Sequence[Any], gates: int) -> list[Any]:
    """Convert the arrays of CuDNN layers, which store each gate's (H, I) matrix in the memory of an (I, H) array."""
    kernel, recurrent, bias = arrays
    H = recurrent.shape[0] if recurrent.ndim == 2 else 0
    rows = gates * H
    if recurrent.shape != (H, rows) or kernel.ndim != 2 or kernel.shape[1] != rows or bias.shape != (2 * rows,):
        raise layer.damaged(
            f"its arrays have shapes {[a.shape for a in arrays]}, expected (I, {gates}H), (H, {gates}H),"
            f" ({2 * gates}H,)"
        )
    each = [np.ascontiguousarray(g) for g in np.split(kernel, gates, axis=1)]
    kernel = np.concatenate([g.reshape(H, kernel.shape[0]).T for g in each], axis=1)
    recurrent = np.concatenate([g.T for g in np.split(recurrent, gates, axis=1)], axis=1)
    return [kernel, recurrent, bias.reshape(2, rows)]
