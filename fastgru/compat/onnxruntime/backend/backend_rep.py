"""A model that a backend prepared."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from onnx.backend.base import BackendRep

from fastgru.arrays import Array
from fastgru.compat.onnxruntime.errors import RuntimeException
from fastgru.compat.onnxruntime.options import RunOptions
from fastgru.compat.onnxruntime.session import InferenceSession

__all__ = ["OnnxRuntimeBackendRep"]

_RUN_OPTIONS: Final = ("log_severity_level", "log_verbosity_level", "logid", "only_execute_path_to_fetches")


class OnnxRuntimeBackendRep(BackendRep):  # type: ignore[misc]
    """A session with a `run` that takes inputs in the order of the graph."""

    def __init__(self, session: InferenceSession) -> None:
        self._session = session

    def run(self, inputs: Sequence[Array] | Array, **kwargs: Any) -> list[Array]:
        """Return the outputs in the order of the graph. inputs: a list, or one array if the model has one input.

        kwargs: options of a run. Options of `prepare` are ignored, because both methods get the same ones.
        """
        options = RunOptions()
        for name, value in kwargs.items():
            if name in _RUN_OPTIONS:
                setattr(options, name, value)
            elif hasattr(options, name):
                raise RuntimeException(f"RunOptions attribute is {name!r}, expected one of {', '.join(_RUN_OPTIONS)}")
        names = [arg.name for arg in self._session.get_inputs()]
        given = list(inputs) if isinstance(inputs, list | tuple) else [inputs]
        if len(given) != len(names):
            raise RuntimeException(f"got {len(given)} inputs, expected {len(names)}: {', '.join(names)}")
        return self._session.run(None, {n: np.asarray(a) for n, a in zip(names, given, strict=True)}, options)
