"""The models of the measurements, made on demand, and the frames that sessions send."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import fastgru
from bench.serving.gru import weights
from fastgru.graph import Graph, Node, TensorSpec
from fastgru.spec import GRUSpec

__all__ = ["frames_of", "gtcrn_frames", "save_gru"]

Array = np.ndarray[Any, Any]


def save_gru(path: Path, hidden: int = 64, seed: int = 0) -> Path:
    """Save a GRU with H inputs: x (T, N, H), h0 (1, N, H) -> y (T, N, H), hn."""
    given, H = weights(hidden, seed), hidden
    node = Node("gru", ("x", "h0", "", "", *given), ("y", "hn"), {"spec": GRUSpec(H, H).to_dict()})
    inputs = (
        TensorSpec("x", "float32", (None, None, H), ("T", "N", None)),
        TensorSpec("h0", "float32", (1, None, H), (None, "N", None)),
    )
    outputs = (
        TensorSpec("y", "float32", (None, None, H), ("T", "N", None)),
        TensorSpec("hn", "float32", (1, None, H), (None, "N", None)),
    )
    fastgru.Model(Graph(inputs, outputs, (node,), given, {"h0": "hn"})).save(path)
    return path


def frames_of(hidden: int = 64, steps: int = 1, count: int = 61, seed: int = 1) -> list[Array]:
    """Return frames (steps, 1, H), which sessions send in turn, each beginning with another frame."""
    x = np.random.default_rng(seed).standard_normal((count, steps, 1, hidden), dtype=np.float32)
    return list(x)


def gtcrn_frames(folder: Path) -> list[Array]:
    with np.load(folder / "golden.npz") as arrays:
        return list(np.ascontiguousarray(arrays["mix"].reshape(-1, 1, 257, 1, 2).astype(np.float32)))
