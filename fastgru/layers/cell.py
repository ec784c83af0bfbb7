"""One step of a GRU, called and shaped as torch.nn.GRUCell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Self, Unpack

import numpy as np
from numpy.typing import ArrayLike

from fastgru.errors import ShapeError, SpecError
from fastgru.graph import Array
from fastgru.layers.arrays import float_input
from fastgru.layers.base import Layer, NetworkBuilder, Options, Value
from fastgru.layers.gate import GateLike, stack_gates
from fastgru.layers.gru import GRU
from fastgru.layers.torch_keys import cell_weights
from fastgru.spec import Activation, GRUSpec, GRUWeights

__all__ = ["GRUCell"]


class GRUCell(Layer):
    """One step of a GRU, which computes the next state h' from x and h, as torch.nn.GRUCell.

    spec: a `GRUSpec` with the direction "forward". weights: its `GRUWeights`.

    Raises `SpecError` or `ShapeError` if they do not fit together.
    """

    shown = "{spec.input_size}, {spec.hidden_size}"

    def __init__(self, spec: GRUSpec, weights: GRUWeights, **options: Unpack[Options]) -> None:
        super().__init__(**options)
        if not isinstance(spec, GRUSpec):
            raise SpecError(f"GRUCell: spec is {spec!r}, expected a GRUSpec; from_torch and from_gates make their own")
        if spec.direction != "forward":
            raise SpecError(f"GRUCell: direction is {spec.direction!r}, expected 'forward' for a single step")
        self._gru = GRU([replace(spec, batch_first=False)], [(weights,)], **options)
        self.spec, self.weights = self._gru.specs[0], self._gru.weights[0][0]
        self.input_size = spec.input_size

    @classmethod
    def from_torch(cls, weights: Mapping[str, ArrayLike], prefix: str = "", **options: Unpack[Options]) -> Self:
        """Build a cell from the torch.nn.GRUCell at `prefix` of a state dict.

        Raises `SpecError` with the missing and the unknown keys.
        """
        return cls(*cell_weights(weights, prefix), **options)

    @classmethod
    def from_gates(
        cls,
        *,
        reset: GateLike,
        update: GateLike,
        candidate: GateLike,
        update_gate: str = "keeps",
        reset_after: bool = False,
        gate_activation: str | Activation = "sigmoid",
        candidate_activation: str | Activation = "tanh",
        **options: Unpack[Options],
    ) -> Self:
        """Build a cell from three gates. The arguments and errors are those of `GRU.from_gates`."""
        spec, weights = stack_gates(
            {"reset": reset, "update": update, "candidate": candidate},
            update_gate=update_gate,
            reset_after=reset_after,
            gate_activation=gate_activation,
            candidate_activation=candidate_activation,
            batch_first=False,
        )
        return cls(spec, weights, **options)

    def emit(self, graph: NetworkBuilder, x: Value, lengths: Value | None = None) -> Value:
        if len(x.shape) != 2:
            raise ShapeError(f"{self!r}: input has shape {x.shape}, expected (N, {self.input_size})")
        step = graph.apply("unsqueeze", x, axes=[0])
        return graph.apply("squeeze", self._gru.emit(graph, step), axes=[0])

    def __call__(self, x: ArrayLike, h: ArrayLike | None = None) -> Array:
        """Compute one step, and return the next state.

        x: (N, I), or (I,) without a batch. h: (N, H) or (H,), or None for zeros.

        Returns h' with the shape of h. Raises `ShapeError` if x or h does not fit.
        """
        array = self._input(x)
        if array.ndim not in (1, 2):
            raise ShapeError(
                f"GRUCell: x: got shape {array.shape}, expected (N, {self.input_size}) or ({self.input_size},)"
            )
        state = None
        if h is not None:
            state = float_input("GRUCell: h", h, self.float_dtype)
            expected = (*array.shape[:-1], self.spec.hidden_size)
            if state.shape != expected:
                raise ShapeError(f"GRUCell: h: got shape {state.shape}, expected {expected}")
            state = np.atleast_2d(state)[None]
        _, h_n = self._gru(np.atleast_2d(array)[None], state)
        return np.asarray(h_n[0] if array.ndim == 2 else h_n[0, 0])
