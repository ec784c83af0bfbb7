"""fastgru runs trained GRU models on CPUs, faster than the frameworks that trained them.

    model = fastgru.load("model.onnx")
    y = model(x)

Kernels are compiled by Numba for the CPU at hand the first time they are needed, and cached. Nothing that compiles is
imported before it is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from fastgru.errors import (
    FastGRUError,
    InvalidModelError,
    ShapeError,
    SpecError,
    StateError,
    UnreadTensorsError,
    UnsupportedModelError,
    VerificationError,
)
from fastgru.graph import Graph, Node, TensorSpec
from fastgru.load import load, load_graph
from fastgru.spec import Activation, GRUSpec, GRUWeights

if TYPE_CHECKING:
    from fastgru.importers.weights import Weights as Weights
    from fastgru.importers.weights import read_weights as read_weights
    from fastgru.layers import *  # noqa: F403
    from fastgru.model import Model as Model
    from fastgru.model import Stream as Stream

__version__ = "0.1.0.dev0"

# Public names that are imported when they are first asked for, and where they live.
_LAZY = {
    "Model": "fastgru.model",
    "Stream": "fastgru.model",
    "Weights": "fastgru.importers.weights",
    "read_weights": "fastgru.importers.weights",
    **dict.fromkeys(
        (
            "BatchNorm1d", "Dropout", "ELU", "Embedding", "GELU", "GRU", "GRUCell", "Gate", "Hardsigmoid", "Hardswish",
            "Identity", "LastStep", "Layer", "LayerNorm", "LeakyReLU", "Linear", "LogSoftmax", "PReLU", "ReLU", "SELU",
            "Select", "Sequential", "SiLU", "Sigmoid", "Softmax", "Softplus", "Softsign", "Tanh", "Transpose",
        ),
        "fastgru.layers",
    ),
}  # fmt: skip

__all__ = [
    "Activation",
    "FastGRUError",
    "GRUSpec",
    "GRUWeights",
    "Graph",
    "InvalidModelError",
    "Node",
    "ShapeError",
    "SpecError",
    "StateError",
    "TensorSpec",
    "UnreadTensorsError",
    "UnsupportedModelError",
    "VerificationError",
    "load",
    "load_graph",
]
__all__ += sorted(_LAZY)


def __getattr__(name: str) -> Any:
    try:
        module = importlib.import_module(_LAZY[name])
    except KeyError:
        raise AttributeError(f"module 'fastgru' has no attribute {name!r}") from None
    value = getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
