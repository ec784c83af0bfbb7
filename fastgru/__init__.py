"""fastgru runs trained GRU models on CPUs, faster than the frameworks that trained them.

    model = fastgru.load("model.onnx")
    y = model(x)

The wheels for Linux and macOS contain the kernels. On other systems they are compiled when they are first needed, and
cached. The compiler is imported only if there is something to compile.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

from fastgru.errors import (
    AmbiguousStateDictError,
    DataError,
    FastGRUError,
    FunctionError,
    InvalidModelError,
    LearningError,
    MissingTensorError,
    SessionError,
    ShapeError,
    SpecError,
    StateError,
    SuspiciousModelWarning,
    UnreadTensorsError,
    UnsupportedModelError,
    VerificationError,
    WeightsAloneError,
)
from fastgru.graph import Graph, Node, TensorSpec
from fastgru.load import demo_path, from_architecture, load, load_graph
from fastgru.process import lock
from fastgru.spec import Activation, GRUSpec, GRUWeights
from fastgru.verify import verify  # imported here, because a later import would bind the name to the package

if "free-threading" in sys.version:
    raise ImportError(
        "fastgru has not been tested on a free-threaded build of Python, whose objects have another layout: use an"
        " ordinary build"
    )

if TYPE_CHECKING:
    from fastgru.importers.keras.custom import CustomLayer
    from fastgru.importers.weights import Weights, read_weights
    from fastgru.layers import (
        ELU,
        GELU,
        GRU,
        SELU,
        BatchNorm1d,
        Dropout,
        Embedding,
        Gate,
        GRUCell,
        Hardsigmoid,
        Hardswish,
        Identity,
        LastStep,
        Layer,
        LayerNorm,
        LeakyReLU,
        Linear,
        LogSoftmax,
        PReLU,
        ReLU,
        Select,
        Sequential,
        Sigmoid,
        SiLU,
        Softmax,
        Softplus,
        Softsign,
        Tanh,
        Transpose,
    )
    from fastgru.model import Model
    from fastgru.quantization import quantize
    from fastgru.streaming import SessionPool, Stream

__version__ = "0.1.0"

# Public names that are imported when they are first used, and their modules.
_LAZY = {
    "CustomLayer": "fastgru.importers.keras.custom",
    "Model": "fastgru.model",
    "SessionPool": "fastgru.streaming",
    "Stream": "fastgru.streaming",
    "Weights": "fastgru.importers.weights",
    "quantize": "fastgru.quantization",
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

# Public packages and modules that are imported when they are first asked for.
_MODULES = ("compat", "learn", "onnx_backend", "quantization", "reference", "scoring", "serve")

__all__ = [
    "ELU",
    "GELU",
    "GRU",
    "SELU",
    "Activation",
    "AmbiguousStateDictError",
    "BatchNorm1d",
    "CustomLayer",
    "DataError",
    "Dropout",
    "Embedding",
    "FastGRUError",
    "FunctionError",
    "GRUCell",
    "GRUSpec",
    "GRUWeights",
    "Gate",
    "Graph",
    "Hardsigmoid",
    "Hardswish",
    "Identity",
    "InvalidModelError",
    "LastStep",
    "Layer",
    "LayerNorm",
    "LeakyReLU",
    "LearningError",
    "Linear",
    "LogSoftmax",
    "MissingTensorError",
    "Model",
    "Node",
    "PReLU",
    "ReLU",
    "Select",
    "Sequential",
    "SessionError",
    "SessionPool",
    "ShapeError",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Softsign",
    "SpecError",
    "StateError",
    "Stream",
    "SuspiciousModelWarning",
    "Tanh",
    "TensorSpec",
    "Transpose",
    "UnreadTensorsError",
    "UnsupportedModelError",
    "VerificationError",
    "Weights",
    "WeightsAloneError",
    "demo_path",
    "from_architecture",
    "load",
    "load_graph",
    "quantize",
    "read_weights",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in _LAZY and name not in _MODULES:
        raise AttributeError(f"module 'fastgru' has no attribute {name!r}")
    with lock:  # A fork waits for this lock: a child could not finish an import that another thread began.
        module = importlib.import_module(_LAZY.get(name, f"fastgru.{name}"))
    value = module if name in _MODULES else getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY, *_MODULES})
