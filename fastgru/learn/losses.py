"""Losses: how far an output is from its target, and the slope of that by the output.

    loss(y, targets) -> E (...), dE/dy (..., C)

y (..., C) are the outputs. The C numbers along the last axis belong to one place, which is a step of a row. Targets of
a cross entropy are classes, integers (...) from 0 to C - 1, or distributions over the classes, floats (..., C). Targets
of an error are floats (..., C). A loss sums over the last axis only.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, TypeAlias

import numpy as np

from fastgru.arrays import Array
from fastgru.errors import ShapeError
from fastgru.reference.softmax import log_softmax

__all__ = [
    "LOSSES",
    "Loss",
    "absolute_error",
    "check_finite",
    "check_targets",
    "cross_entropy",
    "cross_entropy_of_logs",
    "cross_entropy_of_probabilities",
    "loss_named",
    "squared_error",
]

Loss: TypeAlias = Callable[[Array, Array], tuple[Array, Array]]

_ROUNDED: Final = 1e-3  # by which the sum of a distribution may miss 1


def _distribution(y: Array, targets: Array) -> Array:
    """Return the targets as distributions (..., C)."""
    if targets.dtype.kind == "f":
        return targets.astype(y.dtype, copy=False)
    return np.asarray(targets[..., None] == np.arange(y.shape[-1]), y.dtype)


def cross_entropy(y: Array, targets: Array) -> tuple[Array, Array]:
    """The cross entropy of logits: E = -sum(t log softmax(y)) over the last axis, dE/dy = softmax(y) sum(t) - t.

    y: logits (..., C), floats.
    targets: classes (...), integers from 0 to C - 1, or distributions t (..., C), floats that add up to 1.

    Returns E (...) and dE/dy (..., C).
    """
    t, logs = _distribution(y, targets), log_softmax(y, axis=-1)
    return -np.sum(t * logs, axis=-1), np.exp(logs) * t.sum(axis=-1, keepdims=True) - t


def cross_entropy_of_logs(y: Array, targets: Array) -> tuple[Array, Array]:
    """The cross entropy of logarithms of probabilities: E = -sum(t y) over the last axis, dE/dy = -t.

    y: logarithms of probabilities (..., C), such as the output of a LogSoftmax.
    targets: classes (...), integers from 0 to C - 1, or distributions t (..., C), floats that add up to 1.

    Returns E (...) and dE/dy (..., C).
    """
    t = _distribution(y, targets)
    return -np.sum(np.where(t == 0, 0, t * y), axis=-1), -t


def cross_entropy_of_probabilities(y: Array, targets: Array) -> tuple[Array, Array]:
    """The cross entropy of probabilities: E = -sum(t log y) over the last axis, dE/dy = -t / y.

    y: probabilities (..., C), such as the output of a Softmax. Terms with t = 0 are 0.
    targets: classes (...), integers from 0 to C - 1, or distributions t (..., C), floats that add up to 1.

    Returns E (...) and dE/dy (..., C). Raises `ShapeError` if y is not between 0 and 1.
    """
    t = _distribution(y, targets)
    if y.size and not 0 <= y.min() <= y.max() <= 1 + _ROUNDED:
        raise ShapeError(
            f"the outputs are between {y.min():.4g} and {y.max():.4g}, expected probabilities from 0 to 1; for logits,"
            " use loss='cross_entropy'"
        )
    told = t > 0  # elsewhere, 0 log 0 is 0
    safe = np.where(told, y, 1)
    with np.errstate(divide="ignore"):
        return -np.sum(t * np.log(safe), axis=-1), np.where(told, -t / safe, 0)


def squared_error(y: Array, targets: Array) -> tuple[Array, Array]:
    """The squared error: E = sum((y - t)^2) over the last axis, dE/dy = 2 (y - t).

    y, targets: floats (..., C). Returns E (...) and dE/dy (..., C).
    """
    return np.sum((y - targets) ** 2, axis=-1), 2 * (y - targets)


def absolute_error(y: Array, targets: Array) -> tuple[Array, Array]:
    """The absolute error: E = sum(|y - t|) over the last axis, dE/dy = sign(y - t), which is 0 if they are equal.

    y, targets: floats (..., C). Returns E (...) and dE/dy (..., C).
    """
    return np.sum(np.abs(y - targets), axis=-1), np.sign(y - targets)


LOSSES: Final[Mapping[str, Loss]] = MappingProxyType(
    {
        function.__name__: function
        for function in (
            cross_entropy, cross_entropy_of_logs, cross_entropy_of_probabilities, squared_error, absolute_error,
        )
    }
)  # fmt: skip
_OF_CLASSES: Final = frozenset({cross_entropy, cross_entropy_of_logs, cross_entropy_of_probabilities})


def loss_named(loss: str | Loss) -> Loss:
    """Return a loss by its name, or the given function. Raises `ShapeError` for anything else."""
    if isinstance(loss, str) and loss in LOSSES:
        return LOSSES[loss]
    if not callable(loss):
        raise ShapeError(f"loss is {loss!r}, expected a function of outputs and targets, or {', '.join(LOSSES)}")
    return loss


def check_finite(name: str, array: Array) -> None:
    """Raise `ShapeError` if values are NaN or infinite. It tells how many there are, and where the first is."""
    if array.dtype.kind != "f" or np.isfinite(array).all():
        return
    bad = np.argwhere(~np.isfinite(array))
    raise ShapeError(f"{name}: {len(bad)} of {array.size} values are NaN or infinite, the first at {_place(bad[0])}")


def check_targets(loss: Loss, targets: Any, shape: tuple[int, ...], counted: Array) -> Array:
    """Return the targets for outputs of `shape`, with 0 for places that do not count. Another loss takes any targets.

    counted: bool, with the shape of the outputs without the last axis. Raises `ShapeError` for targets of another shape
    or dtype, for classes out of range, for NaN, and for numbers that are no distribution.
    """
    array, C = np.asarray(targets), shape[-1]
    if loss not in LOSSES.values():
        return array
    if loss in _OF_CLASSES and array.dtype.kind in "iu":
        if array.shape != shape[:-1]:
            raise ShapeError(
                f"targets: got classes of shape {array.shape}, expected {shape[:-1]} for outputs of shape {shape}"
            )
        array = np.where(counted, array, 0)
        if len(bad := np.argwhere((array < 0) | (array >= C))):
            raise ShapeError(
                f"targets: {len(bad)} of {array.size} are out of range, expected classes from 0 to {C - 1}; the first,"
                f" {array[tuple(bad[0])]}, is at {_place(bad[0])}"
            )
        return array
    wanted = "classes (integers) or distributions (floats)" if loss in _OF_CLASSES else "floats"
    if array.dtype.kind != "f" or array.shape != shape:
        raise ShapeError(f"targets: got {array.dtype} {array.shape}, expected {wanted} for outputs of shape {shape}")
    array = np.where(counted[..., None], array, 0)
    check_finite("targets", array)
    if loss in _OF_CLASSES:
        fair = (array >= 0).all(axis=-1) & (np.abs(array.sum(axis=-1) - 1) <= _ROUNDED)
        if len(bad := np.argwhere(counted & ~fair)):
            raise ShapeError(
                f"targets: {len(bad)} of {fair.size} are not distributions, whose numbers are at least 0 and add up to"
                f" 1; the first is at {_place(bad[0])}"
            )
    return array


def _place(index: Array) -> tuple[int, ...]:
    return tuple(index.tolist())
