"""The interface of onnxruntime: a program written for it runs with its import changed.

    import fastgru.compat.onnxruntime as ort
    session = ort.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
    outputs = session.run(None, {"x": x})

What cannot change a result is accepted; what would, and is not implemented, is refused by name.
"""

from __future__ import annotations

from fastgru.compat.onnxruntime.binding import IOBinding
from fastgru.compat.onnxruntime.capi import onnxruntime_pybind11_state
from fastgru.compat.onnxruntime.describe import ModelMetadata, NodeArg
from fastgru.compat.onnxruntime.options import (
    ExecutionMode,
    ExecutionOrder,
    GraphOptimizationLevel,
    RunOptions,
    SessionOptions,
)
from fastgru.compat.onnxruntime.session import PROVIDERS, InferenceSession
from fastgru.compat.onnxruntime.values import OrtValue

__all__ = [
    "ExecutionMode",
    "ExecutionOrder",
    "GraphOptimizationLevel",
    "IOBinding",
    "InferenceSession",
    "ModelMetadata",
    "NodeArg",
    "OrtValue",
    "RunOptions",
    "SessionOptions",
    "disable_telemetry_events",
    "enable_telemetry_events",
    "get_all_providers",
    "get_available_providers",
    "get_device",
    "get_version_string",
    "onnxruntime_pybind11_state",
    "set_default_logger_severity",
    "set_default_logger_verbosity",
    "set_seed",
]

# Of the release whose interface this follows; the local part says that this is not it.
__version__ = "1.31.1+fastgru"


def get_version_string() -> str:
    """The release of onnxruntime whose interface this follows."""
    return __version__


def get_available_providers() -> list[str]:
    """["CPUExecutionProvider"]."""
    return list(PROVIDERS)


def get_all_providers() -> list[str]:
    """["CPUExecutionProvider"]."""
    return list(PROVIDERS)


def get_device() -> str:
    """ "CPU"."""
    return "CPU"


def set_default_logger_severity(severity: int) -> None:
    """Without effect: nothing is logged."""


def set_default_logger_verbosity(verbosity: int) -> None:
    """Without effect: nothing is logged."""


def set_seed(seed: int) -> None:
    """Without effect: no operator here draws random numbers."""


def disable_telemetry_events() -> None:
    """Without effect: nothing is sent."""


def enable_telemetry_events() -> None:
    """Without effect: nothing is sent."""
