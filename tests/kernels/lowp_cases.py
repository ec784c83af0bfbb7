"""Networks of one node with small weights, whatever their size."""

from __future__ import annotations

import numpy as np
from gru_cases import Layer

from fastgru.engine import Executable
from fastgru.graph import Graph, Node, TensorSpec
from fastgru.reference.lowp import rounded
from fastgru.spec import Activation, GRUSpec

PRECISIONS = ("bfloat16", "int8")


def one_node(op, precision, weight, bias=None, *, threads=1, transposed=False):
    """x -> y of a linear layer, a product or a look-up."""
    dtype = "int64" if op == "embedding" else "float32"
    constants = {"w": weight.T if transposed else weight} | ({} if bias is None else {"b": bias})
    node = Node(op, ("x", *constants), ("y",), {})
    rank = (None, None) if dtype == "float32" else (None,)
    graph = Graph((TensorSpec("x", dtype, rank),), (TensorSpec("y", "float32", None),), (node,), constants)
    executable = Executable(graph, precision={"y": precision}, threads=threads)
    return lambda x: executable.run({"x": x})["y"]


class LowpLayer(Layer):
    """A GRU whose weights have a precision at any size."""

    def run(self, precision, *, rows=slice(None), threads=1, **given):
        key = precision, threads, tuple(sorted(given))
        if key not in self._executables:
            graph = self._graph(given)
            self._executables[key] = Executable(graph, precision={"y": precision}, threads=threads)
        feeds = {"x": self.x, **given}
        along = {"x": 0 if self.spec.batch_first else 1, "mask": 0 if self.spec.batch_first else 1, "h0": 1}
        feeds = {k: np.moveaxis(np.moveaxis(a, along.get(k, 0), 0)[rows], 0, along.get(k, 0)) for k, a in feeds.items()}
        got = self._executables[key].run(feeds)
        return got["y"], got["h_n"]


FORMS = [
    GRUSpec(11, 37, "bidirectional"),
    GRUSpec(11, 37, "bidirectional", reset_after=False),
    GRUSpec(
        11, 37, "reverse", reset_after=False, batch_first=True, clip=1.5,
        gate_activations=(Activation("hard_sigmoid", 0.2, 0.5),), candidate_activations=(Activation("softplus"),),
    ),
    GRUSpec(40, 130),
]  # fmt: skip


def int8_outputs():
    """Bytes of what int8 promises to be the same on every instruction set."""
    rng = np.random.default_rng(5)
    made = []
    for K, O in ((1, 5), (3, 17), (40, 70), (257, 33), (1024, 8)):
        weight, bias, x = (rng.standard_normal(s).astype(np.float32) for s in ((O, K), (O,), (7, K)))
        x[2], x[3] = 0, np.nan
        made.append(one_node("linear", "int8", weight, bias)(x))
    made.append(one_node("embedding", "int8", rng.standard_normal((9, 21)).astype(np.float32))(np.arange(9)))
    for spec in (FORMS[0], FORMS[2]):
        layer = LowpLayer(spec, 25, 5)
        made += layer.run("int8", h0=layer.h0, lengths=layer.lengths, mask=layer.mask)
        made += layer.run("int8", rows=slice(0, 1))
    return b"".join(a.tobytes() for a in made)


def tile_sums(x, weight, bias):
    """bias + x weight^T of factors rounded to bfloat16, in the order of AMX's tiles.

    Of every 32 k the even and the odd products add up apart, from zero; then together, then to the sum. Each product
    of two bfloat16 is exact in float32, where it is not too small or too large.
    """
    K = x.shape[1]
    pairs = np.zeros((2, -(-K // 32) * 32, max(len(x), len(weight))), np.float32)
    pairs[0, :K, : len(x)], pairs[1, :K, : len(weight)] = rounded(x).T, rounded(weight).T
    a, b = pairs[0, :, : len(x), None], pairs[1, :, None, : len(weight)]
    total = np.tile(bias, (len(x), 1))
    for first in range(0, K, 32):
        halves = [np.zeros_like(total), np.zeros_like(total)]
        for k in range(first, first + 32):
            halves[k % 2] += a[k] * b[k]
        total += halves[0] + halves[1]
    return total


def tile_outputs():
    """Bytes of what AMX's tiles and vectors in their place promise to give alike."""
    rng, made = np.random.default_rng(6), []
    for K, O in ((1, 5), (33, 17), (64, 64), (257, 130)):
        weight, bias, x = (rng.standard_normal(s).astype(np.float32) for s in ((O, K), (O,), (50, K)))
        x[3] *= np.float32(1e-38)
        x[4] *= np.float32(1e-20)
        for precision in PRECISIONS:
            made += [one_node("linear", precision, weight, bias)(x[:rows]) for rows in (1, 2, 16, 17, 33, 50)]
    for spec in FORMS:
        for precision in PRECISIONS:
            made += LowpLayer(spec, 9, 40).run(precision)
    return b"".join(a.tobytes() for a in made)
