"""A GRU layer that learns natively, in every form. Its directions run one after another over the same rows."""

import numpy as np

from fastgru.arrays import Array
from fastgru.graph import Node
from fastgru.kernels.operands.learn import HIDDEN, RESET
from fastgru.learn.direction import Direction
from fastgru.learn.parts import Embedding, Kept, Weights
from fastgru.learn.rows import Native
from fastgru.spec import GRUSpec

__all__ = ["GRULayer"]


class GRULayer:
    """A GRU layer over rows (T N, C), time first, for both layouts of the node.

    h0, h_n: (D, N, H), the initial state, None for zeros, and the last one.
    flags: (T, N) uint8, `HIDDEN` and `RESET` of `kernels.operands.learn`. The backward direction restarts from zeros at
        the last step before a reset.
    lengths, mask: (N,) and (T, N) bool, as in the definition of the node.
    d_h0: dE/dh0.
    """

    def __init__(self, native: Native, weights: Weights, node: Node, embedding: Embedding | None) -> None:
        self.native, self.kept = native, Kept(native)
        self.spec = GRUSpec.from_dict(node.attrs["spec"])
        self.size, self.inputs = self.spec.output_size, self.spec.input_size
        names = [*node.inputs[4:], *[""] * 8]
        self.directions = []
        for d in range(self.spec.num_directions):
            own = names[4 * d : 4 * d + 4]
            arrays, gradients = ([kept.get(name) for name in own] for kept in (weights.arrays, weights.gradients))
            self.directions.append(Direction(native, self.spec, d, arrays, gradients, embedding))
        self.h0: Array | None = None
        self.h_n = self.d_h0 = np.zeros(0)
        self.flags: Array | None = None
        self.lengths: Array | None = None
        self.mask: Array | None = None

    def bound(self, gate_bytes: int | None) -> None:
        """Limit the bytes of the kept gates of all directions. Other gates are computed again in the backward pass."""
        for each in self.directions:
            each.gate_bytes = None if gate_bytes is None else gate_bytes // len(self.directions)

    def forward(self, x: Array, T: int, N: int) -> Array:
        self.T, self.N = T, N
        H, wide, out = self.spec.hidden_size, self.native.padded(self.spec.hidden_size), self.native.padded(self.size)
        plain = self.lengths is None and self.mask is None
        made, last = [], self.kept("h_n", len(self.directions), N, H)
        self.shown = []
        for d, each in enumerate(self.directions):
            flags, shown = self._steps(each.backward)
            made.append(each.forward(x, T, N, None if self.h0 is None else self.h0[d], flags).reshape(T * N, wide))
            last[d] = each.h_n
            self.shown.append(shown)
        self.h_n = last
        if plain and len(made) == 1:
            return made[0]
        y = self.kept("y", T * N, out)
        for d, (states, shown) in enumerate(zip(made, self.shown, strict=True)):
            y[:, d * H : (d + 1) * H] = states[:, :H]
            if shown is not None:
                y[~shown, d * H : (d + 1) * H] = 0
        return y

    def _steps(self, backward: bool) -> tuple[Array | None, Array | None]:
        """Return the flags of a direction, and which rows of its states are shown, (T N,) bool; None for all."""
        flags = self.flags
        if flags is not None and backward and (flags & RESET).any():
            later = np.zeros_like(flags)
            later[:-1] = flags[1:] & RESET
            flags = (flags & HIDDEN) | later
        if self.lengths is None and self.mask is None:
            return flags, None
        steps = np.arange(self.T)[:, None]
        within = np.ones((self.T, self.N), bool) if self.lengths is None else steps < self.lengths
        visible = within if self.mask is None else within & self.mask
        shown = visible
        if self.spec.mask_output == "carry":
            seen = np.logical_or.accumulate(visible[::-1] if backward else visible, axis=0)
            shown = within & (seen[::-1] if backward else seen)
        hidden = (~visible).astype(np.uint8) * np.uint8(HIDDEN)
        return (hidden if flags is None else hidden | flags), shown.reshape(-1)

    def back(self, up: Array, *, deeper: bool, d_last: Array | None = None) -> Array | None:
        """Return dE/dx if `deeper` and x are no ids, else None. d_last: dE/dh_n (D, N, H), None for zeros."""
        H, wide, T, N = self.spec.hidden_size, self.native.padded(self.spec.hidden_size), self.T, self.N
        looked_up = self.directions[0].table is not None
        dx = self.kept("dx", T * N, self.native.padded(self.inputs)) if deeper and not looked_up else None
        self.d_h0 = self.kept("d_h0", len(self.directions), N, H)
        for d, (each, shown) in enumerate(zip(self.directions, self.shown, strict=True)):
            own = up
            if shown is not None or len(self.directions) > 1:
                own = self.kept("up", T * N, wide)
                own[:, :H] = up[:, d * H : (d + 1) * H]
                if shown is not None:
                    own[~shown] = 0
            self.d_h0[d] = each.back(own, N, None if d_last is None else d_last[d], dx, more=d > 0)
        return dx
