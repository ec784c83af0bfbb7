"""GRU, LSTM, SimpleRNN, the CuDNN layers, RNN over one cell or stacked cells, and single cells.

With go_backwards, Keras returns outputs in the order of the computation: that of the last input step comes first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from fastgru.graph import shape_text
from fastgru.graphbuilder import Value
from fastgru.importers.keras.call import Call, Tensor
from fastgru.importers.keras.config import LayerConfig
from fastgru.importers.keras.layers.cells import CELLS, RecurrentCell, read_cell, read_cells
from fastgru.importers.keras.registry import keras_layer
from fastgru.importers.keras.weights import LayerWeights
from fastgru.records import dataclass

__all__ = [
    "ARGUMENTS",
    "Recurrent",
    "flip",
    "hand_on",
    "split_arguments",
    "take_step",
    "with_state",
]

_CLASSES: Final = frozenset({"CuDNNGRU", "CuDNNLSTM", "GRU", "LSTM", "RNN", "SimpleRNN"})
ARGUMENTS: Final = ("initial_state", "mask", "training")


@dataclass(frozen=True)
class Recurrent:
    """A recurrent layer: its cells and its switches."""

    layer: LayerConfig
    cells: tuple[RecurrentCell, ...]
    return_sequences: bool
    return_state: bool
    go_backwards: bool
    stateful: bool
    time_major: bool
    zero_output: bool

    @classmethod
    def read(cls, call: Call, layer: LayerConfig, weights: LayerWeights, below: str = "") -> Recurrent:
        if layer.class_name not in _CLASSES:
            raise layer.unsupported(
                "this recurrent layer is not implemented", f"use one of {', '.join(sorted(_CLASSES))}"
            )
        if layer.get("num_constants", default=None):
            raise layer.unsupported("num_constants is set", "use cells without constants")
        return cls(
            layer,
            tuple(read_cells(call, layer, weights, below)),
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

    def check_input(self, x: Tensor) -> None:
        if x.rank != 3:
            raise self.layer.damaged(f"its input has shape {x.shape}, expected three axes")
        if x.shape[2] not in (None, self.cells[0].input_size):
            raise self.layer.damaged(f"kernel takes {self.cells[0].input_size} features, the input has shape {x.shape}")


@keras_layer(*_CLASSES, positional=ARGUMENTS, checks_arguments=True)
def _recurrent(call: Call) -> list[Tensor]:
    """Return the outputs of a recurrent layer: y, then the states if it returns them."""
    call.check_arguments("initial_state", "mask")
    layer = call.layer
    x, initial = split_arguments(call)
    mask, handed = (masks[0] for masks in call.masks())
    if mask is not None and layer.class_name.startswith("CuDNN"):
        way = f"{layer.class_name} takes no mask in Keras either; use {layer.class_name.removeprefix('CuDNN')}"
        raise layer.unsupported("its input has a mask", way)
    form = Recurrent.read(call, layer, call.weights)
    form.check_input(x)
    cells = form.cells
    initial = with_state(call, form, initial, call.base)
    backwards = form.go_backwards
    states: list[Value] = []
    sequence = x.value
    for cell in cells:
        last = cell is cells[-1]
        spec = cell.spec("reverse" if backwards else "forward", form.time_major, form.zero_output and last)
        mine = initial[len(states) : len(states) + len(cell.states)]
        sequence, after = cell.emit(call, sequence, mine, mask, spec)
        states += after
    hand_on(call, initial, states)
    if form.return_sequences:
        y = flip(call, sequence, form.time_axis, call.base) if backwards else sequence
        out = Tensor(y, handed if call.rules.recurrent_keeps_mask else None)
    else:
        out = Tensor(states[-len(cells[-1].states)])
        # A masked step may show zeros; a row without a visible step shows zeros, not its initial state.
        if mask is not None and (form.zero_output or initial):
            out = Tensor(take_step(call, sequence, form.time_axis, 0 if backwards else -1, call.base))
    if not form.return_state:
        return [out]
    return [out, *(Tensor(state) for state in states)]


@keras_layer(*CELLS, positional=("states", "training"), checks_arguments=True)
def _cell_step(call: Call) -> list[Tensor]:
    """Run one step of a cell that the model calls directly; return its output (the first state), then every state."""
    call.check_arguments("states")
    cell = read_cell(call, call.layer, call.weights)
    x, *states = [*call.inputs, *_values(call, call.arguments.get("states"), "states")]
    if x.rank != 2 or x.shape[1] not in (None, cell.input_size):
        raise call.layer.damaged(
            f"its input has shape {shape_text(x.shape, ('batch',))}, expected (batch, {cell.input_size})"
        )
    _check_states(call, states, [cell.hidden_size] * len(cell.states))
    frame = call.graph.add("unsqueeze", [x.value], f"{call.base}/frame", {"axes": [1]})
    spec = cell.spec("forward", time_major=False, zero_output=False)
    _, after = cell.emit(call, frame, states, None, spec)
    return [Tensor(state) for state in (after[0], *after)]


def split_arguments(call: Call) -> tuple[Tensor, list[Tensor]]:
    """Return the input and the initial states of a call."""
    if not call.inputs:
        raise call.layer.damaged("it has no input")
    given = call.arguments.get("initial_state")
    return call.inputs[0], [*call.inputs[1:], *_values(call, given, "initial_state")]


def _values(call: Call, given: Any, what: str) -> list[Tensor]:
    items = [] if given is None else list(given) if isinstance(given, Sequence) else [given]
    flat = [inner for item in items for inner in (item if isinstance(item, list) else [item])]
    if any(not isinstance(item, Tensor) for item in flat):
        raise call.layer.unsupported(f"{what} is not a tensor of the model", "pass it as an Input")
    return flat


def _check_states(call: Call, given: Sequence[Tensor], sizes: Sequence[int]) -> None:
    if len(given) != len(sizes):
        raise call.layer.damaged(f"got {len(given)} initial states, expected {len(sizes)}")
    for value, size in zip(given, sizes, strict=True):
        if value.rank != 2 or value.shape[1] not in (None, size):
            raise call.layer.damaged(
                f"an initial state has shape {shape_text(value.shape, ('batch',))}, expected (batch, {size})"
            )


def with_state(call: Call, form: Recurrent, initial: list[Tensor], base: str) -> list[Tensor]:
    """Return the initial states, those of the first cell first; a stateful layer's become inputs of the graph."""
    wanted = [(name, cell.hidden_size) for cell in form.cells for name in cell.states]
    if initial:
        _check_states(call, initial, [size for _, size in wanted])
        return initial
    if not form.stateful:
        return []
    if call.calls > 1:
        raise call.layer.unsupported(
            "it is stateful, and called more than once", "the calls would share one state; use one layer for each call"
        )
    names = [(f"{base}_{'cell' if name == 'c' else 'state'}", size) for name, size in wanted]
    return [Tensor(call.graph.open_state(name, (None, size))) for name, size in names]


def hand_on(call: Call, initial: Sequence[Tensor], after: Sequence[Value]) -> None:
    """Set the next values of the states that `with_state` opened."""
    for before, state in zip(initial, after, strict=False):
        call.graph.close_state(before.value, state)


def flip(call: Call, y: Value, axis: int, base: str) -> Value:
    """Return y reversed along `axis`."""
    graph = call.graph
    last, before_first, axes = (
        graph.integers([v], f"{base}/{what}")
        for v, what in ((-1, "last"), (np.iinfo(np.int64).min, "before_first"), (axis, "time_axis"))
    )
    # The constant -1 is both the first position and the step.
    return graph.add("slice", [y, last, before_first, axes, last], base)


def take_step(call: Call, y: Value, axis: int, index: int, base: str) -> Value:
    """Return the step at `index`, without the time axis."""
    at = call.graph.integers(index, f"{base}/step")
    return call.graph.add("gather", [y, at], base, {"axis": axis})
