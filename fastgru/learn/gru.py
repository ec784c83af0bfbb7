"""A GRU layer that learns natively: forward with its gates kept, and back through time."""

import numpy as np

from fastgru.arrays import Array
from fastgru.graph import Node
from fastgru.kernels.operands.learn import GRU_STEPS, RESET
from fastgru.learn.parts import Embedding, Kept, Weights
from fastgru.learn.rows import Native, words_of
from fastgru.spec import GRUSpec

__all__ = ["GRULayer"]


class GRULayer:
    """One forward layer with sigmoid and tanh. state, flags: as `kernels.operands.learn.GRU_STEPS` has them.

    Where an embedding of fewer ids than half of the rows comes before it, x W^T is made of the ids alone, and the
    gradients by W and by the embedding are sums over each id. Gates of as many steps as fit `gate_bytes` are kept; of
    those before only the states are, from which the gates are made again.
    """

    def __init__(self, native: Native, weights: Weights, node: Node, embedding: Embedding | None) -> None:
        self.native, self.kept, self.embedding = native, Kept(native), embedding
        self.spec = GRUSpec.from_dict(node.attrs["spec"])
        self.size, self.inputs = self.spec.hidden_size, self.spec.input_size
        names = [*node.inputs[4:8], "", "", "", ""][:4]
        self.arrays, self.gradients = ([kept.get(n) for n in names] for kept in (weights.arrays, weights.gradients))
        self.h0: Array | None = None  # (N, H)
        self.h_n = np.zeros(0)
        self.flags: Array | None = None  # (T, N) uint8
        self.gate_bytes: int | None = None  # that may be kept; what is beyond is computed again on the way back
        self.cuts: list[tuple[int, int]] = []

    def _laid_out(self) -> None:
        """The weights in the layouts that the steps read: gates n r z of the input, r z n of the state."""
        H, I, kept, wide = self.size, self.inputs, self.kept, self.native.padded(self.size)
        W, R, b_i, b_h = self.arrays
        assert W is not None
        assert R is not None
        ahead, back, bias = kept("ahead", H, 3, wide), kept("back", 3, wide, wide), kept("bias", 3, wide)
        turned, start = kept("input", I, 3, wide), kept("start", 3, wide)
        for g in range(3):
            rows = slice(g * H, (g + 1) * H)
            ahead[:, g, :H] = R[rows].T
            back[g, :H, :H] = R[rows]
            bias[g, :H] = 0 if b_h is None else b_h[rows]
            turned[:, (g + 1) % 3, :H] = W[rows].T
            start[(g + 1) % 3, :H] = 0 if b_i is None else b_i[rows]

    def forward(self, x: Array, T: int, N: int) -> Array:
        kept, wide, H = self.kept, self.native.padded(self.size), self.size
        self._laid_out()
        states = kept("states", T + 1, N, wide)
        states[0, :, :H] = 0 if self.h0 is None else self.h0
        reset = self.flags is not None and bool((self.flags & RESET).any())
        self.before = kept("before", T, N, wide) if reset else states[:T]
        self.x, self.table = x, None
        if x.ndim == 1:
            assert self.embedding is not None
            self.table = kept("table", len(self.embedding.weight), 3 * wide)
            start = kept("start", 3, wide).reshape(-1)
            turned = kept("input", self.inputs, 3, wide).reshape(-1, 3 * wide)
            self.native.gemm(self.embedding.weight, turned, self.table, start)
        each = T
        if self.gate_bytes is not None:
            each = min(T, max(1, self.gate_bytes // (4 * N * wide * states.itemsize)))
        self.cuts = [(first, min(first + each, T)) for first in range(0, T, max(each, 1))]
        for first, last in self.cuts:
            self._ahead(first, last, N)
        self.h_n = states[T, :, :H]
        return states[1:].reshape(T * N, wide)

    def _ahead(self, first: int, last: int, N: int) -> None:
        """Steps `first` to `last` - 1, whose gates are kept until others take their place."""
        native, kept, wide, H = self.native, self.kept, self.native.padded(self.size), self.size
        gates, states = kept("gates", self.cuts[0][1], N, 4, wide), kept("states", self.cuts[-1][1] + 1, N, wide)
        if self.table is None:
            rows, turned = self.x[first * N : last * N], kept("input", self.inputs, 3, wide).reshape(-1, 3 * wide)
            out = gates.reshape(-1, 4 * wide)[: len(rows), : 3 * wide]
            native.gemm(rows[:, : self.inputs], turned, out, kept("start", 3, wide).reshape(-1))
        self.words = words_of(
            GRU_STEPS, gemm=native.gemm_address, first=0, last=last - first, N=N, H=H, padded=wide,
            reset_after=int(self.spec.reset_after), kept=gates, states=states.ctypes.data + first * states.strides[0],
            before=self.before.ctypes.data + first * states.strides[0],
            flags=0 if self.flags is None else self.flags[first:], ids=0 if self.table is None else self.x[first * N :],
            table=0 if self.table is None else self.table, ahead=kept("ahead", H, 3, wide),
            back=kept("back", 3, wide, wide), bias=kept("bias", 3, wide), sums=kept("sums", N, 3, wide),
            zeros=kept("zeros", wide), carry=kept("carry", N, wide),
        )  # fmt: skip
        native.call("gru_ahead", self.words, N)

    def back(self, up: Array, *, deeper: bool) -> Array | None:
        kept, wide, I = self.kept, self.native.padded(self.size), self.inputs
        N = len(up) // max(self.cuts[-1][1], 1)
        carry = kept("carry", N, wide)
        carry[...] = 0
        plain = kept("W", 3, wide, self.native.padded(I))
        for g in range(3):
            plain[(g + 1) % 3, : self.size, :I] = self.arrays[0][g * self.size : (g + 1) * self.size]  # type: ignore[index]
        dx = kept("dx", len(up), plain.shape[2]) if deeper and self.table is None else None
        for k, (first, last) in reversed(list(enumerate(self.cuts))):
            newest = k == len(self.cuts) - 1
            if not newest:  # its gates have gone
                self._ahead(first, last, N)
            self._back_through(up, first, last, N, dx, newest=newest)
        self._gather(plain)
        return dx

    def _back_through(self, up: Array, first: int, last: int, N: int, dx: Array | None, *, newest: bool) -> None:
        """Steps `last` - 1 to `first`. newest: whether sums begin here."""
        native, kept, wide = self.native, self.kept, self.native.padded(self.size)
        self.words[GRU_STEPS.up] = up.ctypes.data + first * N * up.strides[0]
        self.words[GRU_STEPS.up_row], self.words[GRU_STEPS.up_step] = up.shape[1], N * up.shape[1]
        native.call("gru_back", self.words, N)
        rows, more = slice(first * N, last * N), not newest
        gates = kept("gates", self.cuts[0][1], N, 4, wide).reshape(-1, 4 * wide)[: (last - first) * N]
        before, made = self.before[first:last].reshape(-1, wide), kept("dR", 3 * wide, wide)
        if self.spec.reset_after:
            native.gemm(gates[:, wide:].T, before, made, accumulate=more)
        else:
            native.gemm(gates[:, wide : 3 * wide].T, before, made[: 2 * wide], accumulate=more)
            native.gemm(gates[:, :wide].T, gates[:, 3 * wide :], made[2 * wide :], accumulate=more)
        native.column_sums(gates, kept("bias sums", 4 * wide), more=more)
        inputs = gates[:, : 3 * wide]  # n r z
        if self.table is not None:
            native.column_sums(inputs, kept("by id", *self.table.shape), self.x[rows], more=more)
            return
        native.gemm(inputs.T, self.x[rows], kept("dW", 3 * wide, native.padded(self.inputs)), accumulate=more)
        if dx is not None:
            native.gemm(inputs, kept("W", 3, wide, dx.shape[1]).reshape(3 * wide, -1), dx[rows])

    def _gather(self, plain: Array) -> None:
        """Add what was summed to the gradients. plain: the weights of the input, (3, padded H, padded I)."""
        native, kept, wide = self.native, self.kept, self.native.padded(self.size)
        H, I = self.size, self.inputs
        n, r, z, q = kept("bias sums", 4 * wide).reshape(4, wide)[:, :H]
        self._add(1, kept("dR", 3 * wide, wide).reshape(3, wide, wide)[:, :H, :H])
        self._add(2, np.stack([r, z, n])[..., None])
        self._add(3, np.stack([r, z, q if self.spec.reset_after else n])[..., None])
        dW = kept("dW", 3 * wide, plain.shape[2])
        if self.table is not None:
            assert self.embedding is not None
            vocabulary = self.embedding.weight
            by_id, rows = kept("by id", *self.table.shape), kept("rows", len(vocabulary), plain.shape[2])
            rows[:, :I] = vocabulary
            native.gemm(by_id.T, rows, dW)
            native.gemm(by_id, plain.reshape(3 * wide, -1), rows)
            self.embedding.gradient += rows[:, :I]
        self._add(0, dW.reshape(3, wide, -1)[[1, 2, 0], :H, :I])

    def _add(self, index: int, each: Array) -> None:
        """Add the gradients of the gates r, z, n (3, H, ...) to those of an array, where it is there."""
        gradient = self.gradients[index]
        if gradient is not None:
            gradient += each.reshape(gradient.shape)
