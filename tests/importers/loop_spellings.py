"""Loops over GRU cells in all the spellings of exporters, drawn at random: tf2onnx's, both of torch's, and Keras 3's.

`spelled(seed)` gives a model, inputs and the number of GRUs in it. Each of its choices is one that a file was seen to
make; what a cell computes is drawn apart from how that is written.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from onnx import TensorProto, helper, numpy_helper

__all__ = ["spelled"]

END = 2147483647
FLOAT, INT64, INT32, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.INT32, TensorProto.BOOL


class Writer:
    """Nodes of one graph, with names of their own; constants are initializers of it or of the graph around it."""

    def __init__(self, rng, outer=None, prefix=""):
        self.rng, self.outer, self.prefix = rng, outer, prefix
        self.nodes, self.arrays, self._count = [], {}, 0

    def pick(self, *choices):
        return choices[self.rng.integers(len(choices))]

    def chance(self, p=0.5):
        return self.rng.random() < p

    def name(self):
        self._count += 1
        return f"{self.prefix}{self._count}"

    def __call__(self, op, *inputs, outputs=1, to=None, **attrs):
        names = [to] if to else [self.name() for _ in range(outputs)]
        self.nodes.append(helper.make_node(op, list(inputs), names, **attrs))
        return names[0] if outputs == 1 else names

    def const(self, array, dtype=np.float32):
        where = self.outer if self.outer is not None and self.chance() else self
        name = where.name()
        where.arrays[name] = np.asarray(array, dtype)
        return name

    def ints(self, *values):
        return self.const(values, np.int64)

    def scalar(self, number):
        return self.const(number)

    def slice(self, x, start, end, axis, rank):
        """x[start:end] along an axis, the last one ending where it may; sometimes with the whole of the axes before."""
        last = END if end is None else end
        if axis == 1 and rank == 2 and self.chance(0.4):
            return self("Slice", x, self.ints(0, start), self.ints(END, last), self.ints(0, 1))
        more = [self.ints(1)] if self.chance(0.3) else []
        return self("Slice", x, self.ints(start), self.ints(last), self.ints(self.pick(axis, axis - rank)), *more)

    def noise(self, x, width, rank=2):
        """The same value, through operators that change nothing."""
        if rank != 2 or not self.chance(0.12):
            return x
        kind = self.pick("identity", "cast", "axes", "whole", "reshape", "transposes", "times")
        if kind == "identity":
            return self("Identity", x)
        if kind == "cast":
            return self.cast(x, FLOAT)
        if kind == "axes":
            return self("Squeeze", self("Unsqueeze", x, self.ints(0)), self.ints(0))
        if kind == "whole":
            return self("Slice", x, self.ints(0), self.ints(END), self.ints(self.pick(0, 1)), self.ints(1))
        if kind == "reshape":
            return self("Reshape", x, self.ints(self.pick(0, -1), width))
        if kind == "transposes":
            return self("Transpose", self("Transpose", x, perm=[1, 0]), perm=[1, 0])
        return self("Mul", x, self.scalar(1.0))

    def shuffled(self, *inputs):
        return self.pick(inputs, inputs[::-1])

    def cast(self, x, to):
        name = self.name()
        self.nodes.append(helper.make_node("Cast", [x], [name], to=to))
        return name


class Cell:
    """What one GRU computes: sizes, weights (x and h to each gate), biases and forms."""

    def __init__(self, rng, width, hidden):
        self.I, self.H = width, hidden
        self.W = {g: (rng.normal(0, 0.5, (width, hidden))).astype(np.float32) for g in "rzn"}
        self.R = {g: (rng.normal(0, 0.5 / hidden**0.5, (hidden, hidden))).astype(np.float32) for g in "rzn"}
        self.b = {g: (rng.normal(0, 0.3, hidden)).astype(np.float32) for g in "rzn"}
        self.c = {g: (rng.normal(0, 0.3, hidden)).astype(np.float32) for g in "rzn"}
        self.reset_after = bool(rng.integers(2))
        self.keeps = bool(rng.integers(2))
        self.gate = ("sigmoid", "sigmoid", "hard", "hard3")[rng.integers(4)]
        self.candidate = ("tanh", "tanh", "relu", "softsign", "sigmoid", "leaky", "linear")[rng.integers(7)]
        self.biases = ("none", "one", "two")[rng.integers(3)]
        if self.candidate in ("relu", "leaky", "linear"):
            self.R = {g: 0.5 * a for g, a in self.R.items()}


class CellWriter:
    """One cell into a body: from the names of x (N, I) and h (N, H) to that of the next state."""

    def __init__(self, write, cell, carry):
        self.w, self.cell, self.carry = write, cell, carry

    def weight(self, array):
        """A weight, captured, carried round the loop, or written down transposed."""
        w = self.w
        if array.ndim == 2 and w.chance(0.15):
            return w("Transpose", self.weight(np.ascontiguousarray(array.T)), perm=[1, 0])
        return self.carry(array) if w.chance(0.3) else w.const(array)

    def product(self, x, matrix, bias):
        """x @ matrix, and a bias or None."""
        w, kind = self.w, self.w.pick("matmul", "matmul", "gemm", "gemmT", "einsum", "columns")
        if kind == "gemm" or kind == "gemmT":
            given = self.weight(matrix if kind == "gemm" else np.ascontiguousarray(matrix.T))
            more = [] if bias is None else [self.weight(bias)]
            return w("Gemm", x, given, *more, transB=int(kind == "gemmT"))
        if kind == "einsum":
            y = w("Einsum", x, self.weight(matrix), equation=w.pick("bi,ih->bh", "ni,io->no"))
        elif kind == "columns":
            y = w("MatMul", self.weight(np.ascontiguousarray(matrix.T)), w("Transpose", x, perm=[1, 0]))
            y = w("Transpose", y, perm=[1, 0])
        else:
            y = w("MatMul", x, self.weight(matrix))
        y = w.noise(y, matrix.shape[1])
        if bias is None:
            return y
        b = self.weight(bias[None] if w.chance(0.2) else bias)
        return w("Add", *w.shuffled(y, b))

    def parts(self, y, count, H):
        """The columns of y, H each."""
        w, kind = self.w, self.w.pick("split", "sizes", "slices", "slices", "reshape", "negative", "chunk")
        if count == 1:
            return [y]
        if kind == "split" and count in (2, 3):
            return w("Split", y, outputs=count, axis=w.pick(1, -1))
        if kind == "sizes":
            return w("Split", y, w.ints(*[H] * count), outputs=count, axis=1)
        if kind == "chunk":
            width = w("Gather", w("Shape", y), w.ints(-1), axis=0)
            each = w("Div", w("Add", width, w.ints(count - 1)), w.ints(count))
            ends = [w("Mul", each, w.ints(k)) for k in range(count + 1)]
            return [w("Slice", y, ends[k], ends[k + 1], w.ints(-1)) for k in range(count)]
        if kind == "reshape":
            stacked = w("Reshape", y, w.ints(-1, count, H))
            return [w("Gather", stacked, w.const(k, np.int64), axis=1) for k in range(count)]
        if kind == "negative":
            return [
                w.slice(y, (k - count) * H, None if k == count - 1 else (k + 1 - count) * H, 1, 2) for k in range(count)
            ]
        return [w.slice(y, k * H, None if k == count - 1 else (k + 1) * H, 1, 2) for k in range(count)]

    def squash(self, kind, x):
        """An activation of x."""
        w = self.w
        if kind == "sigmoid":
            way = w.pick("op", "op", "op", "op", "tanh", "exp")
            if way == "tanh":
                t = w("Tanh", w("Mul", x, w.scalar(0.5)))
                return w("Add", w("Mul", t, w.scalar(0.5)), w.scalar(0.5))
            if way == "exp":
                return w("Div", w.scalar(1), w("Add", w("Exp", w("Neg", x)), w.scalar(1)))
            return w("Sigmoid", x)
        if kind == "tanh":
            if w.chance(0.1):
                return w("Sub", w("Mul", w("Sigmoid", w("Mul", x, w.scalar(2))), w.scalar(2)), w.scalar(1))
            return w("Tanh", x)
        if kind == "hard":
            if w.chance(0.25):
                return w("HardSigmoid", x)
            return self.clipped(w("Add", w("Mul", x, w.scalar(0.2)), w.scalar(0.5)), 1.0)
        if kind == "hard3":
            y = self.clipped(w("Add", x, w.scalar(3)), 6.0)
            return w("Div", y, w.scalar(6)) if w.chance() else w("Mul", y, w.scalar(1 / 6))
        if kind == "relu":
            return w("Relu", x) if w.chance(0.7) else w("Max", *w.pick((x, w.scalar(0)), (w.scalar(0), x)))
        if kind == "softsign":
            return w("Softsign", x)
        if kind == "leaky":
            return w("LeakyRelu", x, alpha=0.25)
        return x

    def clipped(self, x, high):
        w, low, top = self.w, self.w.scalar(0), self.w.scalar(high)
        kind = w.pick("clip", "maxmin", "minmax", "relumin")
        if kind == "clip":
            return w("Clip", x, low, top)
        if kind == "maxmin":
            return w("Min", w("Max", x, low), top)
        if kind == "minmax":
            return w("Max", low, w("Min", x, top))
        return w("Min", top, w("Relu", x))

    def sums(self):
        """The biases beside the products of x and of h, gate by gate; None for none."""
        cell, kind = self.cell, self.cell.biases
        if kind == "none":
            return dict.fromkeys("rzn"), dict.fromkeys("rzn")
        if kind == "one":
            return cell.b, dict.fromkeys("rzn")
        return cell.b, cell.c

    def write(self, x, h):
        w, cell, H = self.w, self.cell, self.cell.H
        b, c = self.sums()
        kind = w.pick("fused", "fused", "each", "pair", "concat")
        if kind == "concat":
            a, hn = self._concatenated(x, h, b, c)
        elif kind == "each":
            a = {g: self._both(x, h, g, b, c) for g in "rz"}
            a["n"] = self.product(x, cell.W["n"], b["n"])
            hn = self.product(h, cell.R["n"], c["n"]) if cell.reset_after else None
        else:
            order = "".join(w.rng.permutation(list("rzn")))
            a, hn = self._fused(x, h, b, c, order, pair=kind == "pair")
        if w.chance(0.15) and cell.gate in ("sigmoid", "hard"):
            both = self.squash(cell.gate, w("Concat", a["z"], a["r"], axis=1))
            z, r = self.parts(both, 2, H)
        else:
            r, z = self.squash(cell.gate, a["r"]), self.squash(cell.gate, a["z"])
        if kind == "concat" and not cell.reset_after:
            W = np.concatenate([cell.W["n"], cell.R["n"]])
            rh = w("Mul", *w.shuffled(r, h))
            n = self.product(w("Concat", x, rh, axis=1), W, _total(b["n"], c["n"]))
        else:
            scaled = w("Mul", *w.shuffled(r, hn if cell.reset_after else h))
            rest = scaled if cell.reset_after else self.product(scaled, cell.R["n"], c["n"])
            n = w("Add", *w.shuffled(a["n"], rest))
        return self.last_line(z, h, self.squash(cell.candidate, w.noise(n, H)))

    def _both(self, x, h, g, b, c):
        w, cell = self.w, self.cell
        xs, hs = self.product(x, cell.W[g], b[g]), self.product(h, cell.R[g], c[g])
        return w("Add", *w.shuffled(xs, hs))

    def _fused(self, x, h, b, c, order, pair):
        w, cell, H = self.w, self.cell, self.cell.H
        xs = self.parts(self.product(x, *_side_by_side(cell.W, b, order)), 3, H)
        a = dict(zip(order, xs, strict=True))
        if cell.reset_after and not pair:
            hs = dict(zip(order, self.parts(self.product(h, *_side_by_side(cell.R, c, order)), 3, H), strict=True))
            hn = hs["n"]
        else:
            gates = [g for g in order if g != "n"]
            hs = dict(zip(gates, self.parts(self.product(h, *_side_by_side(cell.R, c, gates)), 2, H), strict=True))
            hn = self.product(h, cell.R["n"], c["n"]) if cell.reset_after else None
        for g in "rz":
            a[g] = w("Add", *w.pick((a[g], hs[g]), (hs[g], a[g])))
        return a, hn

    def _concatenated(self, x, h, b, c):
        w, cell, H = self.w, self.cell, self.cell.H
        first = w.chance()
        xh = w("Concat", *((x, h) if first else (h, x)), axis=w.pick(1, -1))
        W = {g: np.concatenate([cell.W[g], cell.R[g]] if first else [cell.R[g], cell.W[g]]) for g in "rz"}
        total = {g: _total(b[g], c[g]) for g in "rz"}
        order = w.pick("rz", "zr")
        a = dict(zip(order, self.parts(self.product(xh, *_side_by_side(W, total, order)), 2, H), strict=True))
        a["n"] = self.product(x, cell.W["n"], b["n"]) if cell.reset_after else None
        return a, self.product(h, cell.R["n"], c["n"]) if cell.reset_after else None

    def last_line(self, z, h, n):
        w, one = self.w, self.w.scalar(1)
        if w.chance(0.2) and self.cell.gate in ("sigmoid", "hard"):
            z = w("Sub", one, w("Sub", one, z))
        keep, take = (h, n) if self.cell.keeps else (n, h)
        kind = w.pick("textbook", "textbook", "lerp", "back", "spread")
        if kind == "textbook":
            kept, taken = w("Mul", z, keep), w("Mul", w("Sub", one, z), take)
            return w("Add", *w.shuffled(kept, taken))
        if kind == "lerp":
            return w("Add", take, w("Mul", z, w("Sub", keep, take)))
        if kind == "back":
            return w("Sub", keep, w("Mul", w("Sub", one, z), w("Sub", keep, take)))
        return w("Sub", w("Add", w("Mul", z, keep), take), w("Mul", z, take))


def _total(*biases):
    given = [b for b in biases if b is not None]
    return np.sum(given, axis=0) if given else None


def _side_by_side(matrices, biases, order):
    every = [biases[g] for g in order]
    bias = None if all(b is None for b in every) else np.concatenate(every)
    return np.concatenate([matrices[g] for g in order], axis=1), bias


@dataclass
class Around:
    """What a loop stands in: sizes, which of them are free, the graph around, and its inputs."""

    rng: np.random.Generator
    T: int
    N: int
    free_time: bool
    free_batch: bool
    write: Writer = None
    inputs: dict = field(default_factory=dict)
    infos: list = field(default_factory=list)
    read: set = field(default_factory=set)  # names that a body reads

    def input(self, name, array, *, time=None, batch=None):
        """An input of the model; time, batch: those axes, free if they are to be."""
        dims = list(array.shape)
        for axis, dim, free in ((time, "T", self.free_time), (batch, "N", self.free_batch)):
            if axis is not None and free:
                dims[axis] = dim
        kind = helper.np_dtype_to_tensor_dtype(array.dtype)
        self.infos.append(helper.make_tensor_value_info(name, kind, dims))
        self.inputs[name] = array
        return name


class LoopWriter:
    """One Loop or Scan over cells, one on the other."""

    def __init__(self, around, k, seq, axis, cells, backward):
        self.a, self.k, self.seq, self.axis, self.cells, self.backward = around, k, seq, axis, cells, backward
        self.out = around.write
        self.b = Writer(around.rng, self.out, f"b{k}_")
        self.states, self.scans, self.steps = [], [], []
        self.scan = self.b.chance(0.35)
        self.hidden = self.b.pick(None, None, None, None, "mask", "lengths")
        self.output = self.b.pick("zero", "carry", "state")

    def state(self, init, kind, shape, after=None):
        """A carried value: its name in the body. after: its name after an iteration, the same for one handed on."""
        name = f"s{self.k}_{len(self.states)}"
        self.states.append([name, init, kind, shape, after])
        return name

    def carry(self, array):
        name = self.out.name()
        self.out.arrays[name] = array
        before = self.state(name, FLOAT, list(array.shape))
        self.states[-1][4] = self.b("Identity", before) if self.scan or self.b.chance() else before
        return before

    def size(self, axis):
        """The size of an axis of the sequence, a scalar of int64."""
        w = self.out
        shape = w("Shape", self.seq)
        if w.chance():
            shape = w.cast(w.cast(shape, INT32), INT64)
        if w.chance():
            return w("Gather", shape, w.const(axis, np.int64), axis=0)
        return w("Squeeze", w("Slice", shape, w.ints(axis), w.ints(axis + 1), w.ints(0)), w.ints(0))

    def initial(self, H, k):
        """h0 (N, H), and whether it is zeros."""
        w, a = self.out, self.a
        kind = w.pick("expand", "shape", "input", "constant")
        if kind == "constant" and not a.free_batch:
            zeros = w.chance()
            return w.const(np.zeros((a.N, H)) if zeros else w.rng.normal(0, 0.5, (a.N, H))), zeros
        if kind == "input":
            array = w.rng.normal(0, 0.5, (a.N, H)).astype(np.float32)
            return a.input(f"h{self.k}_{k}", array, batch=0), False
        shape = w("Concat", w("Unsqueeze", self.size(1 - self.axis), w.ints(0)), w.ints(H), axis=0)
        if kind == "expand":
            return w("Expand", w.scalar(0), shape), True
        return w("ConstantOfShape", shape, value=numpy_helper.from_array(np.zeros(1, np.float32))), True

    def write(self):
        """Names of what is stacked (T, N, H), and of the states in the end."""
        w, b = self.out, self.b
        self.T = self.size(self.axis)
        self.time = self._time()
        x, visible = self._step(), None
        if self.hidden is not None:
            visible = self._visible()
        finals = []
        for k, cell in enumerate(self.cells):
            init, zeros = self.initial(cell.H, k)
            form = b.pick("plain", "plain", "plain", "wide", "columns")
            place = len(self.states)
            h, back = self._state(init, cell.H, form)
            new = CellWriter(b, cell, self.carry).write(x, h)
            x = new
            if visible is not None:
                new = self._select(visible, new, h)
            self.states[place][4] = back(new)
            finals.append((f"f{self.k}_{place}", form))
            shown, last = x, new
        y = self._shown(visible, shown, last, zeros)
        y = b("Identity", y) if b.chance() else y
        if any(y == s[4] for s in self.states) or len({s[4] for s in self.states}) < len(self.states):
            y = b("Identity", y)
        deep = b.chance(0.1)
        self.scans.append(b("Unsqueeze", y, b.ints(0)) if deep else y)
        ys = f"y{self.k}"
        self._node(ys, deep)
        ys = w("Squeeze", ys, w.ints(1)) if deep else ys
        return ys, [self._final(name, form) for name, form in finals]

    def _state(self, init, H, form):
        w, b, N = self.out, self.b, "N" if self.a.free_batch else self.a.N
        if form == "wide":
            name = self.state(w("Unsqueeze", init, w.ints(0)), FLOAT, [1, N, H])
            return b("Squeeze", name, b.ints(0)), lambda new: b("Unsqueeze", new, b.ints(0))
        if form == "columns":
            name = self.state(w("Transpose", init, perm=[1, 0]), FLOAT, [H, N])
            return b("Transpose", name, perm=[1, 0]), lambda new: b("Transpose", new, perm=[1, 0])
        return self.state(init, FLOAT, [N, H]), lambda new: new

    def _final(self, name, form):
        w = self.out
        if form == "plain":
            return name
        return w("Squeeze", name, w.ints(0)) if form == "wide" else w("Transpose", name, perm=[1, 0])

    def _time(self):
        """The counter of the body: the loop's own, or one that is carried."""
        b = self.b
        if not self.scan and b.chance(0.4) and self.hidden is None:
            return "i", INT64
        if self.scan and self.hidden != "lengths" and b.chance(0.6):
            return None, None
        kind = b.pick(INT32, INT64)
        dtype = {INT32: np.int32, INT64: np.int64}[kind]
        name = self.state(self.out.const(0, dtype), kind, [])
        self.states[-1][4] = b("Add", *b.shuffled(name, b.const(1, dtype)))
        return name, kind

    def _position(self):
        """Where the step of this iteration is, int64 or int32."""
        b, (time, kind) = self.b, self.time
        if not self.backward:
            return time
        last = self.out("Sub", self.T, self.out.const(1, np.int64))
        wide = time if kind == INT64 else b.cast(time, INT64)
        if b.chance():
            return b("Sub", last, wide)
        return b("Add", last, b("Mul", wide, b.const(-1, np.int64)))

    def _step(self):
        if self.scan:
            self.steps.append((self.seq, self.axis, ["N" if self.a.free_batch else self.a.N, self.cells[0].I]))
            return f"x{self.k}_0"
        return self._read(self.seq, self.axis)

    def _read(self, seq, axis):
        b, at = self.b, self._position()
        if b.chance(0.2):
            seq = b("Slice", seq, b.ints(0), b.ints(END), b.ints(axis), b.ints(1))
        if self.backward or b.chance(0.7):
            return b("Gather", seq, at, axis=axis)
        at = at if self.time[1] == INT64 else b.cast(at, INT64)
        start = b("Unsqueeze", at, b.ints(0))
        end = b("Add", start, b.ints(1))
        return b("Squeeze", b("Slice", seq, start, end, b.ints(axis)), b.ints(axis))

    def _visible(self):
        """Whether the step of a row counts, (N, 1) of bools."""
        w, b, a = self.out, self.b, self.a
        if self.hidden == "lengths":
            dtype = w.pick(np.int32, np.int64)
            lengths = a.input(f"l{self.k}", w.rng.integers(0, a.T + 1, a.N).astype(dtype), batch=0)
            kind = {np.int32: INT32, np.int64: INT64}[dtype]
            time, mine = self.time
            time = time if mine == kind else b.cast(time, kind)
            # A row counts from the first step on, in either direction.
            hidden = b("Not", b("Less", time, lengths)) if b.chance() else b("GreaterOrEqual", time, lengths)
            return b("Unsqueeze", b("Not", hidden), b.ints(1))
        mask = w.rng.random((a.T, a.N, 1)) < 0.7
        mask = a.input(f"m{self.k}", mask, time=0, batch=1)
        if self.scan:
            self.steps.append((mask, 0, ["N" if a.free_batch else a.N, 1]))
            return f"x{self.k}_1"
        return b("Gather", mask, self._position(), axis=0)

    def _select(self, visible, new, old):
        b = self.b
        if b.chance():
            return b("Where", visible, new, old) if b.chance() else b("Where", b("Not", visible), old, new)
        first, second = b.cast(visible, FLOAT), b.cast(b("Not", visible), FLOAT)
        return b("Add", *b.shuffled(b("Mul", first, new), b("Mul", *b.shuffled(old, second))))

    def _shown(self, visible, new, kept, zeros):
        """What is stacked: the new state, and where a step is hidden zeros, or what was shown before."""
        b, H = self.b, self.cells[-1].H
        if visible is None:
            return new
        if self.output == "zero":
            return b("Where", visible, new, b.scalar(0))
        if self.output == "state" and zeros:
            return kept
        shape = self.out("Concat", self.out("Unsqueeze", self.size(1 - self.axis), self.out.ints(0)), self.out.ints(H),
                         axis=0)  # fmt: skip
        before = self.state(self.out("Expand", self.out.scalar(0), shape), FLOAT,
                            ["N" if self.a.free_batch else self.a.N, H])  # fmt: skip
        after = self._select(visible, new, before)
        self.states[-1][4] = after
        return after

    def _going_on(self):
        """The condition after an iteration, that before the first, and the number of iterations."""
        w, b, (time, kind) = self.out, self.b, self.time
        way = b.pick("handed", "constant", "less", "less", "both", "not")
        if way == "handed":
            return b("Identity", "go"), w.const(True, bool), self.T
        if way == "constant":
            return b("Identity", b.const(True, bool)), w.pick("", w.const(True, bool)), self.T
        first = w("Less", w.const(0, np.int64), self.T) if w.chance() else w.const(True, bool)
        after = b("Add", b.cast(time, INT64) if kind == INT32 else time, b.const(1, np.int64))
        if way == "not":
            later = b("Not", b("GreaterOrEqual", after, self.T))
        else:
            to = b.pick(INT64, INT32, FLOAT)
            sides = after, self.T
            sides = sides if to == INT64 else [b.cast(v, to) for v in sides]
            later = b("Less", *sides) if b.chance() else b("Greater", *sides[::-1])
        if way == "both":
            later = b("And", *b.shuffled(later, b.pick("go", b("Less", "i", self.T))))
        count = w.pick(self.T, self.T, w.const(END, np.int64), "")
        if count != self.T and not self.a.free_time and self.a.T == 0:
            count = self.T
        return later, first, count

    def _node(self, ys, deep):
        b, w, info = self.b, self.out, helper.make_tensor_value_info
        finals = [f"f{self.k}_{i}" for i in range(len(self.states))]
        inits, ins = [s[1] for s in self.states], [info(s[0], s[2], s[3]) for s in self.states]
        if self.scan:
            ins += [info(f"x{self.k}_{i}", BOOL if seq[0] == "m" else FLOAT, shape)
                    for i, (seq, _, shape) in enumerate(self.steps)]  # fmt: skip
            outs = []
            inits += [seq for seq, _, _ in self.steps]
        else:
            going, first, count = self._going_on()
            ins = [info("i", INT64, []), info("go", BOOL, []), *ins]
            outs, inits = [info(going, BOOL, [])], [count, first, *inits]
        outs += [info(s[4], s[2], s[3]) for s in self.states]
        sizes = ["N" if self.a.free_batch else self.a.N, self.cells[-1].H]
        outs += [info(y, FLOAT, [1, *sizes] if deep else sizes) for y in self.scans]
        nodes = _live(b.nodes, [o.name for o in outs], ())
        self.a.read |= _read(nodes) | {o.name for o in outs}
        initializers = [numpy_helper.from_array(a, name) for name, a in b.arrays.items() if name in self.a.read]
        body = helper.make_graph(nodes, "body", ins, outs, initializers)
        more = {}
        if self.scan:
            more = {"num_scan_inputs": len(self.steps), "scan_input_axes": [axis for _, axis, _ in self.steps],
                    "scan_input_directions": [int(self.backward)] * len(self.steps)}  # fmt: skip
            if self.backward:
                more["scan_output_directions"] = [int(w.chance())]
        w.nodes.append(helper.make_node("Scan" if self.scan else "Loop", inits, [*finals, ys], body=body, **more))


def _read(nodes):
    return {name for node in nodes for name in node.input}


def _live(nodes, outputs, read):
    """The nodes that the outputs depend on, or what bodies read."""
    wanted, kept = {*outputs, *read}, []
    for node in reversed(nodes):
        if wanted & set(node.output):
            kept.append(node)
            wanted |= set(node.input)
    return kept[::-1]


def spelled(seed):
    """A model (ModelProto), its inputs by name, and how many GRUs are in it."""
    rng = np.random.default_rng(seed)
    write = Writer(rng, None, "o")
    a = Around(rng, int(rng.integers(1, 7)), int(rng.integers(1, 4)), write.chance(), write.chance(), write)
    width, axis = int(rng.integers(1, 5)), write.pick(0, 0, 1)
    shape = (a.T, a.N, width) if axis == 0 else (a.N, a.T, width)
    x = a.input("x", rng.normal(0, 1, shape).astype(np.float32), time=axis, batch=1 - axis)
    outputs, grus, k = [], 0, 0
    layers = int(rng.integers(1, 4))
    while layers:
        together = int(rng.integers(1, layers + 1)) if write.chance(0.4) else 1
        layers -= together
        if axis == 1 and write.chance(0.6):
            x, axis = write("Transpose", x, perm=[1, 0, 2]), 0
        ways = write.pick((False,), (False,), (True,), (False, True))
        found = []
        for backward in ways:
            hidden = [int(rng.integers(1, 7)) for _ in range(together)]
            cells = [Cell(rng, w, h) for w, h in zip([width, *hidden], hidden, strict=False)]
            y, finals = LoopWriter(a, k, x, axis, cells, backward).write()
            found.append((y, hidden[-1]))
            outputs += finals[-1:]
            grus, k = grus + together, k + 1
        x = found[0][0] if len(found) == 1 else write("Concat", *(y for y, _ in found), axis=2)
        width, axis = sum(h for _, h in found), 0
    outputs.append(write("Transpose", x, perm=[1, 0, 2]) if write.chance() else write("Identity", x))
    outputs = [write("Identity", name) for name in outputs]
    infos = [helper.make_tensor_value_info(name, FLOAT, None) for name in outputs]
    nodes = _live(write.nodes, outputs, a.read)
    read = a.read | _read(nodes)
    initializers = [numpy_helper.from_array(array, name) for name, array in write.arrays.items() if name in read]
    graph = helper.make_graph(nodes, "g", a.infos, infos, initializers)
    opset = helper.make_opsetid("", write.pick(13, 15, 17))
    return helper.make_model(graph, opset_imports=[opset], ir_version=8), a.inputs, grus


_OTHERS = {
    "Sigmoid": ("Tanh", "HardSigmoid"),
    "Tanh": ("Sigmoid", "Relu"),
    "Add": ("Sub", "Mul"),
    "Sub": ("Add", "Mul"),
    "Mul": ("Add", "Sub"),
    "Relu": ("Tanh", "Abs"),
    "Max": ("Min",),
    "Min": ("Max",),
    "Less": ("Greater",),
    "Identity": ("Neg", "Abs"),
}


def spoiled(seed):
    """As `spelled`, with one operator of a body exchanged for another, or one of its numbers for another."""
    model, inputs, grus = spelled(seed)
    rng = np.random.default_rng((seed, 1))
    bodies = [a.g for node in model.graph.node for a in node.attribute if a.HasField("g")]
    body = bodies[rng.integers(len(bodies))]
    nodes = [node for node in body.node if node.op_type in _OTHERS]
    tensors = [t for t in body.initializer if t.data_type == FLOAT]
    if nodes and (rng.random() < 0.6 or not tensors):
        node = nodes[rng.integers(len(nodes))]
        others = _OTHERS[node.op_type]
        node.op_type = others[rng.integers(len(others))]
    elif tensors:
        tensor = tensors[rng.integers(len(tensors))]
        array = numpy_helper.to_array(tensor).copy()
        array.reshape(-1)[rng.integers(array.size)] += rng.choice([1e-3, 0.1, -2])
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    return model, inputs, grus
