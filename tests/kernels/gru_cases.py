"""GRU layers to be run by the engine and by the definition."""

from __future__ import annotations

import numpy as np

from fastgru.engine import Executable
from fastgru.graph import Graph, Node, TensorSpec
from fastgru.reference.gru import gru
from fastgru.spec import GRUSpec, GRUWeights


class Layer:
    """A GRU with weights as torch initialises them, and the arrays of a run, all holding float32 numbers."""

    def __init__(self, spec: GRUSpec, T: int, N: int, seed: int = 0, bias: bool = True) -> None:
        rng = np.random.default_rng(seed)
        H, I, D = spec.hidden_size, spec.input_size, spec.num_directions
        bound = 1 / np.sqrt(H)

        def uniform(*shape):
            return rng.uniform(-bound, bound, shape).astype(np.float32)

        self.spec, self.T, self.N = spec, T, N
        self.weights = [
            GRUWeights(
                uniform(3 * H, I),
                uniform(3 * H, H),
                uniform(3 * H) if bias else None,
                uniform(3 * H) if bias else None,
            )
            for _ in range(D)
        ]
        shape = (N, T, I) if spec.batch_first else (T, N, I)
        self.x = rng.standard_normal(shape).astype(np.float32)
        self.h0 = rng.uniform(-1, 1, (D, N, H)).astype(np.float32)
        self.lengths = rng.integers(0, T + 1, N)
        if N > 1:
            self.lengths[:2] = 0, T
        self.mask = rng.random(shape[:2]) < 0.7
        self._executables = {}

    def run(self, precision="float32", *, rows=slice(None), **given):
        """(y, h_n) by the engine; `given` holds some of h0, lengths, mask; `rows` takes part of the batch."""
        key = precision, tuple(sorted(given))
        if key not in self._executables:
            self._executables[key] = Executable(self._graph(given), precision=precision)
        feeds = {"x": self.x, **given}
        along = {"x": 0 if self.spec.batch_first else 1, "mask": 0 if self.spec.batch_first else 1, "h0": 1}
        feeds = {k: np.moveaxis(np.moveaxis(a, along.get(k, 0), 0)[rows], 0, along.get(k, 0)) for k, a in feeds.items()}
        got = self._executables[key].run(feeds)
        return got["y"], got["h_n"]

    def defined(self, **given):
        """(y, h_n) by the definition, in float64."""
        wide = {k: a.astype(np.float64) if a.dtype == np.float32 else a for k, a in given.items()}
        return gru(
            self.spec, self.weights, self.x.astype(np.float64), wide.get("h0"), wide.get("lengths"), wide.get("mask")
        )

    def _graph(self, given):
        names = {"h0": "float32", "lengths": "int64", "mask": "bool"}
        ranks = {"h0": 3, "lengths": 1, "mask": 2}
        specs = [TensorSpec("x", "float32", (None, None, self.spec.input_size))]
        specs += [TensorSpec(k, dtype, (None,) * ranks[k]) for k, dtype in names.items() if k in given]
        constants, inputs = {}, ["x", *(k if k in given else "" for k in names)]
        for d, w in enumerate(self.weights):
            for field in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
                array = getattr(w, field)
                inputs.append("" if array is None else f"{field}_{d}")
                if array is not None:
                    constants[f"{field}_{d}"] = array
        node = Node("gru", tuple(inputs), ("y", "h_n"), {"spec": self.spec.to_dict()})
        outputs = (TensorSpec("y", "float32", None), TensorSpec("h_n", "float32", None))
        return Graph(tuple(specs), outputs, (node,), constants)


def error(got, wanted):
    """The largest absolute difference, over y and h_n; both must be finite."""
    assert all(g.shape == w.shape for g, w in zip(got, wanted, strict=True))
    assert all(np.isfinite(g).all() for g in got)
    return max(float(np.abs(g - w).max(initial=0)) for g, w in zip(got, wanted, strict=True))
