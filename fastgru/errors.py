"""The exception tree. Everything this package raises on purpose descends from `FastGRUError`."""

__all__ = [
    "FastGRUError",
    "FunctionError",
    "InvalidModelError",
    "SessionError",
    "ShapeError",
    "SpecError",
    "StateError",
    "SuspiciousModelWarning",
    "UnreadTensorsError",
    "UnsupportedModelError",
    "VerificationError",
]


class FastGRUError(Exception):
    """Root of the tree."""


class InvalidModelError(FastGRUError, ValueError):
    """A file or graph is damaged, hostile, or breaks the rules of its own format."""


class UnsupportedModelError(FastGRUError, NotImplementedError):
    """A valid model asks for something that is not implemented.

    The message names the node, the operator, the attribute, and a way round.
    """


class SpecError(FastGRUError, ValueError):
    """A GRU description contradicts itself or its weights; the message lists every fault at once."""


class ShapeError(FastGRUError, ValueError):
    """An array has the wrong rank, size or dtype: the message gives the name, what came, what was expected."""


class FunctionError(FastGRUError, RuntimeError):
    """A function of the caller's, which stands for a layer of a model, ended in an error, which is the cause of this
    one; the message names the layer."""


class UnreadTensorsError(FastGRUError, ValueError):
    """Tensors of a file were read by nobody; the message lists them."""


class StateError(FastGRUError, ValueError):
    """A saved stream state is damaged or belongs to another model."""


class SessionError(FastGRUError, LookupError):
    """A session of a pool is not open, or there is no room for another."""


class VerificationError(FastGRUError):
    """A model's outputs differ from the float64 definition, or from another runtime, by more than allowed."""


class SuspiciousModelWarning(UserWarning):
    """A model is valid, and says something that its exporter is known to write by mistake."""
