"""The names of `onnxruntime_pybind11_state` again, because onnxruntime's own Python code imports them from here."""

from typing import Any

from fastgru.compat.onnxruntime.capi import onnxruntime_pybind11_state

__all__: list[str] = []


def __getattr__(name: str) -> Any:
    return getattr(onnxruntime_pybind11_state, name)


def __dir__() -> list[str]:
    return dir(onnxruntime_pybind11_state)
