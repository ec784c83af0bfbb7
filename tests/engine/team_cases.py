"""Networks that a team can share in every way."""

from __future__ import annotations

import numpy as np

from fastgru.engine import sharing
from fastgru.graph import Graph, Node, TensorSpec
from fastgru.spec import GRUSpec

__all__ = ["WAYS", "frames", "network"]

WAYS = {
    "rows": sharing.Split(sharing.ROWS, False, 1.0),
    "units": sharing.Split(sharing.UNITS, False, 1.0),
    "directions": sharing.Split(sharing.ALONE, True, 1.0),
}


def network(spec: GRUSpec, rng: np.random.Generator, *, lengths: bool, mask: bool, h0: bool) -> Graph:
    H, I, D = spec.hidden_size, spec.input_size, spec.num_directions
    optional = {
        "h0": (h0, TensorSpec("h0", "float32", (D, None, H))),
        "lengths": (lengths, TensorSpec("lengths", "int64", (None,))),
        "mask": (mask, TensorSpec("mask", "bool", (None, None))),
    }
    constants = {
        f"{name}{d}": rng.uniform(-1, 1, shape) / np.sqrt(H)
        for d in range(D)
        for name, shape in (("w", (3 * H, I)), ("r", (3 * H, H)), ("bi", (3 * H,)), ("bh", (3 * H,)))
    }
    names = ["x", *(name if given else "" for name, (given, _) in optional.items()), *constants]
    return Graph(
        (TensorSpec("x", "float32", (None, None, I)), *(spec for given, spec in optional.values() if given)),
        (TensorSpec("y", "float32", None), TensorSpec("hn", "float32", None)),
        (Node("gru", tuple(names), ("y", "hn"), {"spec": spec.to_dict()}),),
        constants,
    )


def frames(graph: Graph, rng: np.random.Generator, T: int, N: int) -> dict[str, np.ndarray]:
    shapes = {"x": (T, N, graph.inputs[0].shape[2])}
    arrays = {"x": rng.standard_normal(shapes["x"]).astype(np.float32)}
    for spec in graph.inputs[1:]:
        if spec.name == "h0":
            arrays["h0"] = rng.uniform(-1, 1, (spec.shape[0], N, spec.shape[2])).astype(np.float32)
        elif spec.name == "lengths":
            arrays["lengths"] = rng.integers(0, T + 1, N)
        else:
            arrays["mask"] = rng.random((T, N)) < 0.6
    return arrays
