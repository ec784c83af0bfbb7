"""The GRU of the measurements in NumPy, as a script writes it: what every peer computes, with the weights of our model.

It is copied into the folders of models, where peers import it from, and needs NumPy alone.
"""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["step", "weights"]

Array = np.ndarray[Any, Any]


def weights(hidden: int = 64, seed: int = 0) -> dict[str, Array]:
    """wi, wh (3H, H), bi, bh (3H,) of a GRU as wide as its input, its gates in the order reset, update, candidate."""
    rng, H = np.random.default_rng(seed), hidden
    shapes: dict[str, tuple[int, ...]] = {"wi": (3 * H, H), "wh": (3 * H, H), "bi": (3 * H,), "bh": (3 * H,)}
    return {name: rng.normal(0, 1.6 / H**0.5, shape).astype(np.float32) for name, shape in shapes.items()}


def step(given: dict[str, Array], x: Array, h: Array) -> Array:
    """One step of rows x, h (N, H), or of one row x, h (H,): two products of matrices, two sigmoids, a tanh."""
    H = h.shape[-1]
    a, b = x @ given["wi"].T + given["bi"], h @ given["wh"].T + given["bh"]
    r = 1 / (1 + np.exp(-(a[..., :H] + b[..., :H])))
    z = 1 / (1 + np.exp(-(a[..., H : 2 * H] + b[..., H : 2 * H])))
    n = np.tanh(a[..., 2 * H :] + r * b[..., 2 * H :])
    return n + z * (h - n)
