"""onnxruntime's exceptions, each under the error of our own tree that fits. Messages begin as onnxruntime's do."""

from fastgru.errors import FastGRUError, InvalidModelError, ShapeError, UnsupportedModelError

__all__ = [
    "DeviceReset",
    "EPFail",
    "EngineError",
    "Fail",
    "InvalidArgument",
    "InvalidGraph",
    "InvalidProtobuf",
    "Misfit",
    "ModelLoadCanceled",
    "ModelLoaded",
    "ModelRequiresCompilation",
    "NoDevice",
    "NoModel",
    "NoSuchFile",
    "NotFound",
    "OrtNotImplemented",
    "RuntimeException",
]


class _Numbered(FastGRUError):
    """code, word: onnxruntime's number and name of the status. detail: the message without them."""

    code, word = 1, "FAIL"

    def __init__(self, text: str) -> None:
        self.detail = text
        super().__init__(f"[ONNXRuntimeError] : {self.code} : {self.word} : {text}")


class Fail(_Numbered):
    """A run that was stopped, or that failed for a reason without a name of its own."""


class InvalidArgument(_Numbered, ShapeError):
    """An input or output that is unknown, or does not fit: name, rank, size or dtype."""

    code, word = 2, "INVALID_ARGUMENT"


class Misfit(Fail, InvalidArgument):
    """Inputs of a node that do not fit together, which shows only during the run.

    onnxruntime raises FAIL for most operators and INVALID_ARGUMENT for others. Code that catches either catches this.
    """

    code, word = 1, "FAIL"


class NoSuchFile(_Numbered, FileNotFoundError):
    """There is no such model file."""

    code, word = 3, "NO_SUCHFILE"


class NoModel(_Numbered):
    """Never raised here; it exists for code that catches it."""

    code, word = 4, "NO_MODEL"


class EngineError(_Numbered):
    """Never raised here; it exists for code that catches it."""

    code, word = 5, "ENGINE_ERROR"


class RuntimeException(_Numbered, RuntimeError):
    """A binding that cannot be run, or an unknown entry or provider. onnxruntime raises a bare RuntimeError there."""

    code, word = 6, "RUNTIME_EXCEPTION"


class InvalidProtobuf(_Numbered, InvalidModelError):
    """The bytes are not an ONNX model."""

    code, word = 7, "INVALID_PROTOBUF"


class ModelLoaded(_Numbered):
    """Never raised here; it exists for code that catches it."""

    code, word = 8, "MODEL_LOADED"


class OrtNotImplemented(_Numbered, UnsupportedModelError):
    """A model, an option or a call that is not implemented here. The message names it and a workaround.

    In onnxruntime its name is `NotImplemented`, which is also a name of Python's own.
    """

    code, word = 9, "NOT_IMPLEMENTED"


class InvalidGraph(_Numbered, InvalidModelError):
    """An ONNX model that contradicts itself."""

    code, word = 10, "INVALID_GRAPH"


class EPFail(_Numbered):
    """Never raised here; it exists for code that catches it."""

    code, word = 11, "EP_FAIL"


class ModelLoadCanceled(_Numbered):
    """`SessionOptions.set_load_cancellation_flag` was set when the session was made."""

    code, word = 12, "MODEL_LOAD_CANCELED"


class ModelRequiresCompilation(_Numbered):
    """Never raised here; it exists for code that catches it."""

    code, word = 13, "MODEL_REQUIRES_COMPILATION"


class NotFound(_Numbered):
    """Never raised here; it exists for code that catches it."""

    code, word = 14, "NOT_FOUND"


class DeviceReset(_Numbered):
    """Never raised here; it exists for code that catches it."""

    code, word = 15, "DEVICE_RESET"


class NoDevice(OrtNotImplemented, RuntimeError):
    """A device that does not exist here. onnxruntime raises a bare RuntimeError there."""
