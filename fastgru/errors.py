"""The exception tree. Errors about models, arrays, states and data descend from `FastGRUError`."""

from collections.abc import Mapping

__all__ = [
    "AmbiguousStateDictError",
    "DataError",
    "FastGRUError",
    "FunctionError",
    "InvalidModelError",
    "LearningError",
    "MissingTensorError",
    "SessionError",
    "ShapeError",
    "SpecError",
    "StateError",
    "SuspiciousModelWarning",
    "UnreadTensorsError",
    "UnsupportedModelError",
    "VerificationError",
    "WeightsAloneError",
]


class FastGRUError(Exception):
    """The base class of fastgru's own errors."""


class InvalidModelError(FastGRUError, ValueError):
    """A file or graph is damaged, hostile, or breaks the rules of its own format."""


class AmbiguousStateDictError(InvalidModelError):
    """Several dicts of a checkpoint may be the state dict. Name one of them with `key=`.

    choices: the dotted paths of these dicts.
    shapes: the shapes of the tensors by name, for the first of these dicts.
    """

    def __init__(
        self, message: str, choices: tuple[str, ...], shapes: tuple[Mapping[str, tuple[int, ...]], ...] = ()
    ) -> None:
        super().__init__(message)
        self.choices, self.shapes = choices, shapes


class MissingTensorError(InvalidModelError, KeyError):
    """A file has no tensor of this name. The message lists the nearest names. It is also a `KeyError`."""

    __str__ = Exception.__str__


class UnsupportedModelError(FastGRUError, NotImplementedError):
    """A valid model needs something that is not implemented.

    The message names the node, the operator, the attribute, and a workaround.
    """


class WeightsAloneError(UnsupportedModelError):
    """A file has weights but no model. The message says how to load it."""


class SpecError(FastGRUError, ValueError):
    """The description of a layer contradicts itself or its weights. The message lists every fault."""


class ShapeError(FastGRUError, ValueError):
    """An array or an argument does not fit. The message has its name, what came, and what was expected."""


class FunctionError(FastGRUError, RuntimeError):
    """A function of yours that replaces a layer raised an error.

    The message names the layer, and `__cause__` is the original error.
    """


class DataError(FastGRUError, ValueError):
    """A data set cannot be read, or one of its rows does not fit the model. The message names the file or the row."""


class UnreadTensorsError(FastGRUError, ValueError):
    """A file has tensors that nothing read. The message lists them."""


class StateError(FastGRUError, ValueError):
    """A state is missing, damaged, in use by another call, or belongs to another model."""


class LearningError(FastGRUError, ArithmeticError):
    """A loss, a gradient or an output is not finite, or the model has nothing to differentiate."""


class SessionError(FastGRUError, LookupError):
    """A session of a pool is not open, or the pool is full."""


class VerificationError(FastGRUError):
    """The outputs of a model differ from the float64 definition, or from another runtime, by more than is allowed."""


class SuspiciousModelWarning(UserWarning):
    """The model is valid, but has a setting that its exporter is known to write by mistake."""
