"""GRU cells: their arrays in the order of this package, and what their activations are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastgru.conventions import from_keras_gates
from fastgru.errors import ShapeError
from fastgru.importers.keras.activations import recurrent_activation
from fastgru.importers.keras.call import Call
from fastgru.importers.keras.layer import Layer
from fastgru.importers.keras.weights import Weights
from fastgru.spec import Activation, GRUSpec, GRUWeights

__all__ = ["Cell", "read_cells"]


@dataclass(frozen=True)
class Cell:
    """One GRU cell: its arrays in our order, and what its activations are."""

    weights: GRUWeights
    reset_after: bool
    gate: Activation
    candidate: Activation
    base: str
    home: str

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
            "" if a is None else call.graph.constant(a, f"{self.home}/{field}")
            for a, field in zip(arrays, fields, strict=True)
        ]


def read_cells(call: Call, layer: Layer, weights: Weights, below: str) -> list[Cell]:
    """The cells of a GRU, a CuDNNGRU or an RNN layer; `below` is where they stand in the layer that is called."""
    if layer.class_name != "RNN":
        return [_read_cell(call, layer, weights.child("cell", layer), below)]
    cell = layer.inner("cell")
    if cell.class_name == "GRUCell":
        return [_read_cell(call, cell, weights.child("cell", cell), below)]
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
        cells.append(_read_cell(call, inner, weights.child("cells", inner, n), f"{below}/{n}"))
    return cells


def _read_cell(call: Call, layer: Layer, weights: Weights, below: str) -> Cell:
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
    cell = Cell(gates, reset_after, gate, candidate, f"{call.base}{below}", f"{call.home}{below}")
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
