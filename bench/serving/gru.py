"""The GRU of the measurements in NumPy, as in a script: what every peer computes, with the weights of our model.

The file is copied into the folders of models, from which peers import it, and needs only NumPy.
"""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["step", "weights"]

Array = np.ndarray[Any, Any]


def weights(hidden: int = 64, seed: int = 0) -> dict[str, Array]:
    """Return wi, wh (3H, H), bi, bh (3H,) of a GRU with H inputs, with gates in the order reset, update, candidate."""
    rng, H = np.random.default_rng(seed), hidden
    shapes: dict[str, tuple[int, ...]] = {"wi": (3 * H, H), "wh": (3 * H, H), "bi": (3 * H,), "bh": (3 * H,)}
    return {name: rng.normal(0, 1.6 / H**0.5, shape).astype(np.float32) for name, shape in shapes.items()}


def step(given: dict[str, Array], x: Array, h: Array) -> Array:
    """Do one step on rows x, h (N, H), or on one row x, h (H,): two matrix products, two sigmoids, a tanh."""
    H = h.shape[-1]
    a, b = x @ given["wi"].T + given["bi"], h @ given["wh"].T + given["bh"]
    r = 1 / (1 + np.exp(-(a[..., :H] + b[..., :H])))
    z = 1 / (1 + np.exp(-(a[..., H : 2 * H] + b[..., H : 2 * H])))
    n = np.tanh(a[..., 2 * H :] + r * b[..., 2 * H :])
    return n + z * (h - n)
