"""The exception tree. Everything this package raises on purpose descends from `FastGRUError`."""

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
    """The base of all errors that fastgru raises on purpose."""


class InvalidModelError(FastGRUError, ValueError):
    """A file or graph is damaged, hostile, or breaks the rules of its own format."""


class AmbiguousStateDictError(InvalidModelError):
    """Several dicts of a checkpoint may be the state dict, and `key=` has to name one.

    choices: their dotted paths. shapes: of the first of them, the shapes of the tensors by name.
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
    """A valid model asks for something that is not implemented.

    The message names the node, the operator, the attribute, and a way round.
    """


class WeightsAloneError(UnsupportedModelError):
    """A file of weights without a model around them, where a model was expected; the message has the way round."""


class SpecError(FastGRUError, ValueError):
    """A GRU description contradicts itself or its weights; the message lists every fault at once."""


class ShapeError(FastGRUError, ValueError):
    """An array has the wrong rank, size or dtype: the message gives the name, what came, what was expected."""


class FunctionError(FastGRUError, RuntimeError):
    """A function that stands for a layer of a model raised an error. The message names the layer, and `__cause__` is
    the error.
    """


class DataError(FastGRUError, ValueError):
    """A data set cannot be read, or a row of it does not fit the model; the message names the file or the row."""


class UnreadTensorsError(FastGRUError, ValueError):
    """Nobody read some tensors of a file. The message lists them."""


class StateError(FastGRUError, ValueError):
    """There is no state where one is needed, a saved state is damaged or belongs to another model, or a state is in
    use.
    """


class LearningError(FastGRUError, ArithmeticError):
    """A fit has come to a loss, or gradients, that are no finite numbers."""


class SessionError(FastGRUError, LookupError):
    """A session of a pool is not open, or there is no room for another."""


class VerificationError(FastGRUError):
    """A model's outputs differ from the float64 definition, or from another runtime, by more than allowed."""


class SuspiciousModelWarning(UserWarning):
    """The model is valid, but says something that its exporter is known to write by mistake."""
