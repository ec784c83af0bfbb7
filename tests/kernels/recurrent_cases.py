"""LSTM and simple recurrent layers to be run by the engine and by the definition."""

from __future__ import annotations

import numpy as np

from fastgru.engine import Executable
from fastgru.graph import Graph, Node, TensorSpec
from fastgru.reference import run_graph
from fastgru.spec import LSTMSpec

_RANKS = {"h0": 3, "lengths": 1, "mask": 2, "c0": 3}
_DTYPES = {"lengths": "int64", "mask": "bool"}


class Recurrent:
    """A layer with weights as torch initialises them, and the arrays of a run, all holding float32 numbers."""

    def __init__(self, spec, T, N, seed=0, bias=True, peephole=False):
        rng = np.random.default_rng(seed)
        H, D = spec.hidden_size, spec.num_directions
        self.spec, self.op = spec, "lstm" if isinstance(spec, LSTMSpec) else "rnn"
        self.constants, self.names = {}, []
        for d in range(D):
            for field, shape in spec.weight_shapes.items():
                absent = not {"bias": bias, "peephole": peephole}.get(field.split("_")[0], True)
                self.names.append("" if absent else f"{field}_{d}")
                if not absent:
                    self.constants[f"{field}_{d}"] = (rng.uniform(-1, 1, shape) / np.sqrt(H)).astype(np.float32)
        shape = (N, T, spec.input_size) if spec.batch_first else (T, N, spec.input_size)
        self.x = rng.standard_normal(shape).astype(np.float32)
        self.h0, self.c0 = (rng.uniform(-1, 1, (D, N, H)).astype(np.float32) for _ in range(2))
        self.lengths = rng.integers(0, T + 1, N)
        if N > 1:
            self.lengths[:2] = 0, T
        self.mask = rng.random(shape[:2]) < 0.7
        self.along = {"x": spec.batch_first ^ 1, "mask": spec.batch_first ^ 1, "h0": 1, "c0": 1}
        self._executables = {}

    def all_given(self):
        """Every optional input of the layer."""
        names = [name for name in _RANKS if name != "c0" or self.op == "lstm"]
        return {name: getattr(self, name) for name in names}

    def run(self, precision="float32", *, rows=slice(None), **given):
        """(y, h_n) or (y, h_n, c_n) by the engine; `rows` takes part of the batch."""
        key = precision, tuple(sorted(given))
        if key not in self._executables:
            self._executables[key] = Executable(self.graph(given), precision=precision)
        feeds = {"x": self.x, **given}
        for name, array in feeds.items():
            axis = int(self.along.get(name, 0))
            feeds[name] = np.moveaxis(np.moveaxis(array, axis, 0)[rows], 0, axis)
        return tuple(self._executables[key].run(feeds).values())

    def defined(self, **given):
        """The same by the definition, in float64."""
        return tuple(run_graph(self.graph(given), {"x": self.x, **given}, dtype="float64").values())

    def graph(self, given):
        specs = [TensorSpec("x", "float32", (None, None, self.spec.input_size))]
        specs += [TensorSpec(n, _DTYPES.get(n, "float32"), (None,) * rank) for n, rank in _RANKS.items() if n in given]
        optional = [name for name in _RANKS if name != "c0" or self.op == "lstm"]
        inputs = ("x", *(name if name in given else "" for name in optional), *self.names)
        outputs = ("y", *(f"{state}_n" for state in self.spec.STATES))
        node = Node(self.op, inputs, outputs, {"spec": self.spec.to_dict()})
        return Graph(tuple(specs), tuple(TensorSpec(o, "float32", None) for o in outputs), (node,), self.constants)


def error(got, wanted):
    """The largest difference over all outputs, which must have the same shapes; NaN counts as infinite."""
    assert [a.shape for a in got] == [a.shape for a in wanted]
    worst = [float(np.abs(a.astype(np.float64) - b).max()) for a, b in zip(got, wanted, strict=True) if a.size]
    return max((w if w == w else np.inf for w in worst), default=0.0)
