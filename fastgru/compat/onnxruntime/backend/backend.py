"""The backend: makes an object with `run` from a file, bytes, a parsed model or a session."""

from typing import Any, Final, NoReturn, TypeAlias

from onnx import ModelProto
from onnx.backend.base import Backend

from fastgru.compat.onnxruntime.about import get_device
from fastgru.compat.onnxruntime.backend.backend_rep import OnnxRuntimeBackendRep
from fastgru.compat.onnxruntime.errors import OrtNotImplemented, RuntimeException
from fastgru.compat.onnxruntime.options import SessionOptions
from fastgru.compat.onnxruntime.session import InferenceSession

__all__ = ["OnnxRuntimeBackend", "is_compatible", "prepare", "run", "supports_device"]

_SESSION_OPTIONS: Final = (
    "enable_cpu_mem_arena", "enable_mem_pattern", "enable_mem_reuse", "execution_mode", "execution_order",
    "graph_optimization_level", "inter_op_num_threads", "intra_op_num_threads", "log_severity_level",
    "log_verbosity_level", "logid", "use_deterministic_compute", "use_per_session_threads",
)  # fmt: skip

Prepared: TypeAlias = str | bytes | ModelProto | InferenceSession | OnnxRuntimeBackendRep


class OnnxRuntimeBackend(Backend):  # type: ignore[misc]
    """`onnx.backend.base.Backend` over `InferenceSession`; `fastgru.onnx_backend` is the one over `fastgru.load`."""

    @classmethod
    def is_compatible(cls, model: Any, device: str | None = None, **kwargs: Any) -> bool:
        """Return True if the device exists. Only `prepare` tells whether the model can be run."""
        return device is None or cls.supports_device(device)

    @classmethod
    def supports_device(cls, device: str) -> bool:
        """Return True for "CPU"."""
        return device == get_device()

    @classmethod
    def prepare(cls, model: Prepared, device: str | None = None, **kwargs: Any) -> OnnxRuntimeBackendRep:
        """Return an object with `run`. kwargs: options of a session; options of a run are ignored."""
        if isinstance(model, OnnxRuntimeBackendRep):
            return model
        if isinstance(model, ModelProto):
            model = model.SerializeToString()
        if not isinstance(model, InferenceSession):
            options = SessionOptions()
            for name, value in kwargs.items():
                if name in _SESSION_OPTIONS:
                    setattr(options, name, value)
                elif hasattr(options, name):
                    raise RuntimeException(
                        f"SessionOptions attribute is {name!r}, expected one of {', '.join(_SESSION_OPTIONS)}"
                    )
            model = InferenceSession(model, options)
        if device is not None and not cls.supports_device(device):
            raise RuntimeException(f"Incompatible device expected {device!r}, got {get_device()!r}")
        return OnnxRuntimeBackendRep(model)

    @classmethod
    def run_model(cls, model: Prepared, inputs: Any, device: str | None = None, **kwargs: Any) -> list[Any]:
        """Run the model, and return its outputs in the order of the graph."""
        return cls.prepare(model, device, **kwargs).run(inputs, **kwargs)

    @classmethod
    def run_node(cls, *args: Any, **kwargs: Any) -> NoReturn:
        raise OrtNotImplemented("run_node is not implemented; run a model of one node")


is_compatible = OnnxRuntimeBackend.is_compatible
prepare = OnnxRuntimeBackend.prepare
run = OnnxRuntimeBackend.run_model
supports_device = OnnxRuntimeBackend.supports_device
