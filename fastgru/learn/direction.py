"""One direction of a GRU layer that learns natively: a forward pass that keeps the gates, and back through time."""

import numpy as np

from fastgru.arrays import Array
from fastgru.kernels.learn_calls import gru_calls
from fastgru.kernels.operands.activation import ACTIVATION_CODES, activation_parameters
from fastgru.kernels.operands.learn import GRU_STEPS, RESET
from fastgru.learn.parts import Embedding, Kept
from fastgru.learn.rows import Native, words_of
from fastgru.spec import SIGMOID, TANH, GRUSpec

__all__ = ["Direction"]


class Direction:
    """One direction of a GRU layer, with its arrays and their gradients.

    arrays, gradients: those of weight_ih, weight_hh, bias_ih and bias_hh, None for absent ones.

    If `forward` gets ids, x W^T is computed once for each id of the embedding before the layer, and the gradients by W
    and by the embedding come from sums over each id. The gates of as many steps as fit into `gate_bytes` are kept. For
    the other steps only the states are kept, and the gates are computed again.
    """

    def __init__(
        self,
        native: Native,
        spec: GRUSpec,
        d: int,
        arrays: list[Array | None],
        gradients: list[Array | None],
        embedding: Embedding | None,
    ) -> None:
        self.native, self.kept, self.embedding = native, Kept(native), embedding
        self.spec, self.arrays, self.gradients = spec, arrays, gradients
        self.size, self.inputs = spec.hidden_size, spec.input_size
        self.backward = spec.direction == "reverse" or d == 1
        f, g = spec.functions(d)
        self._codes = ACTIVATION_CODES[f.kind], ACTIVATION_CODES[g.kind]
        numbers = [activation_parameters(a.alpha, a.beta, native.dtype) for a in (f, g)]
        self._parameters = np.concatenate([*numbers, np.array([spec.clip or 0], native.dtype)])
        self._calls = gru_calls(native.dtype, general=(f, g, spec.clip) != (SIGMOID, TANH, None))
        self.gate_bytes: int | None = None
        self.cuts: list[tuple[int, int]] = []  # in the order of the forward pass

    def _laid_out(self) -> None:
        """Copy the weights into the layouts that the steps read: gates n r z for the input, r z n for the state."""
        H, I, kept, wide = self.size, self.inputs, self.kept, self.native.padded(self.size)
        W, R, b_i, b_h = self.arrays
        assert W is not None
        assert R is not None
        ahead, back, bias = kept("ahead", H, 3, wide), kept("back", 3, wide, wide), kept("bias", 3, wide)
        transposed, start = kept("input", I, 3, wide), kept("start", 3, wide)
        for g in range(3):
            rows = slice(g * H, (g + 1) * H)
            ahead[:, g, :H] = R[rows].T
            back[g, :H, :H] = R[rows]
            bias[g, :H] = 0 if b_h is None else b_h[rows]
            transposed[:, (g + 1) % 3, :H] = W[rows].T
            start[(g + 1) % 3, :H] = 0 if b_i is None else b_i[rows]

    def forward(self, x: Array, T: int, N: int, h0: Array | None, flags: Array | None) -> Array:
        """Return h after each step, (T, N, padded H), for x (T N, padded I) or ids (T N,), h0 (N, H), flags (T, N)."""
        kept, wide, H = self.kept, self.native.padded(self.size), self.size
        self._laid_out()
        states = kept("states", T + 1, N, wide)
        states[T if self.backward else 0, :, :H] = 0 if h0 is None else h0
        first = int(self.backward)
        self.source, self.target, self.flags = states[first : first + T], states[1 - first : 1 - first + T], flags
        reset = flags is not None and bool((flags & RESET).any())
        self.before = kept("before", T, N, wide) if reset else self.source
        self.x, self.table = x, None
        if x.ndim == 1:
            assert self.embedding is not None
            self.table = kept("table", len(self.embedding.weight), 3 * wide)
            transposed = kept("input", self.inputs, 3, wide).reshape(-1, 3 * wide)
            self.native.gemm(self.embedding.weight, transposed, self.table, kept("start", 3, wide).reshape(-1))
        each = T
        if self.gate_bytes is not None:
            each = min(T, max(1, self.gate_bytes // max(4 * N * wide * states.itemsize, 1)))
        self.cuts = [(at, min(at + each, T)) for at in range(0, T, max(each, 1))]
        if self.backward:
            self.cuts = [(T - last, T - begin) for begin, last in self.cuts]
        for begin, last in self.cuts:
            self._ahead(begin, last, N)
        self.h_n = states[0 if self.backward else T, :, :H]
        return self.target

    def _ahead(self, first: int, last: int, N: int) -> None:
        """Run the steps `first` to `last` - 1. Their gates are kept until those of other steps overwrite them."""
        native, kept, wide, H = self.native, self.kept, self.native.padded(self.size), self.size
        gates = self._gates(N)
        if self.table is None:
            rows, transposed = self.x[first * N : last * N], kept("input", self.inputs, 3, wide).reshape(-1, 3 * wide)
            out = gates.reshape(-1, 4 * wide)[: len(rows), : 3 * wide]
            native.gemm(rows[:, : self.inputs], transposed, out, kept("start", 3, wide).reshape(-1))
        self.words = words_of(
            GRU_STEPS, gemm=native.gemm_address, first=0, last=last - first, backward=int(self.backward), N=N, H=H,
            padded=wide, reset_after=int(self.spec.reset_after), kept=gates, source=self.source[first:],
            target=self.target[first:], before=self.before[first:],
            flags=0 if self.flags is None else self.flags[first:], ids=0 if self.table is None else self.x[first * N :],
            table=0 if self.table is None else self.table, weights=kept("ahead", H, 3, wide),
            back=kept("back", 3, wide, wide), bias=kept("bias", 3, wide), sums=kept("sums", N, 3, wide),
            zeros=kept("zeros", wide), carry=kept("carry", N, wide), gate=self._codes[0], candidate=self._codes[1],
            clip=int(self.spec.clip is not None), parameters=self._parameters,
        )  # fmt: skip
        native.share(self._calls["gru_ahead"], self.words, N)

    def _gates(self, N: int) -> Array:
        first, last = self.cuts[0] if self.cuts else (0, 0)
        return self.kept("gates", last - first, N, 4, self.native.padded(self.size))

    def back(self, up: Array, N: int, d_last: Array | None, dx: Array | None, *, more: bool) -> Array:
        """Return dE/dh0 (N, H). The gradients of the weights are added to `gradients`.

        up: dE by the states (T N, at least padded H). d_last: dE by the last state (N, H). dx: an array (T N, padded I)
        that gets dE/dx, or to which it is added if `more`.
        """
        kept, wide, I, H = self.kept, self.native.padded(self.size), self.inputs, self.size
        carry = kept("carry", N, wide)
        carry[:, :H] = 0 if d_last is None else d_last
        carry[:, H:] = 0
        plain = kept("W", 3, wide, self.native.padded(I))
        for g in range(3):
            plain[(g + 1) % 3, :H, :I] = self.arrays[0][g * H : (g + 1) * H]  # type: ignore[index]
        for k, (first, last) in reversed(list(enumerate(self.cuts))):
            newest = k == len(self.cuts) - 1
            if not newest:  # its gates were overwritten
                self._ahead(first, last, N)
            self._back_through(up, first, last, N, dx, newest=newest, more=more)
        if self.cuts:
            self._gather(plain)
        return carry[:, :H]

    def _back_through(
        self, up: Array, first: int, last: int, N: int, dx: Array | None, *, newest: bool, more: bool
    ) -> None:
        """Go back through the steps `last` - 1 to `first`, or in reverse order. newest: whether sums begin here."""
        native, kept, wide = self.native, self.kept, self.native.padded(self.size)
        self.words[GRU_STEPS.up] = up.ctypes.data + first * N * up.strides[0]
        self.words[GRU_STEPS.up_row], self.words[GRU_STEPS.up_step] = up.shape[1], N * up.shape[1]
        native.share(self._calls["gru_back"], self.words, N)
        rows, add = slice(first * N, last * N), not newest
        gates = self._gates(N).reshape(-1, 4 * wide)[: (last - first) * N]
        before, made = self.before[first:last].reshape(-1, wide), kept("dR", 3 * wide, wide)
        if self.spec.reset_after:
            native.gemm(gates[:, wide:].T, before, made, accumulate=add)
        else:
            native.gemm(gates[:, wide : 3 * wide].T, before, made[: 2 * wide], accumulate=add)
            native.gemm(gates[:, :wide].T, gates[:, 3 * wide :], made[2 * wide :], accumulate=add)
        native.column_sums(gates, kept("bias sums", 4 * wide), more=add)
        inputs = gates[:, : 3 * wide]  # n r z
        if self.table is not None:
            native.column_sums(inputs, kept("by id", *self.table.shape), self.x[rows], more=add)
            return
        native.gemm(inputs.T, self.x[rows], kept("dW", 3 * wide, native.padded(self.inputs)), accumulate=add)
        if dx is not None:
            plain = kept("W", 3, wide, dx.shape[1]).reshape(3 * wide, -1)
            native.gemm(inputs, plain, dx[rows], accumulate=more)

    def _gather(self, plain: Array) -> None:
        """Add the sums over all steps to the gradients. plain: the weights of the input, (3, padded H, padded I)."""
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
        """Add the gradients of the gates r, z, n (3, H, ...) to those of an array, unless it is absent."""
        gradient = self.gradients[index]
        if gradient is not None:
            gradient += each.reshape(gradient.shape)
