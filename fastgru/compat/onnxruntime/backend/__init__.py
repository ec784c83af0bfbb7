"""ONNX's backend interface over the sessions of this package, as `onnxruntime.backend` has it."""

from fastgru.compat.onnxruntime.backend.backend import is_compatible, prepare, run, supports_device

__all__ = ["is_compatible", "prepare", "run", "supports_device"]
