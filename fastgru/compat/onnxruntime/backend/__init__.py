"""ONNX's backend interface with the sessions of this package, as in `onnxruntime.backend`."""

from fastgru.compat.onnxruntime.backend.backend import is_compatible, prepare, run, supports_device

__all__ = ["is_compatible", "prepare", "run", "supports_device"]
