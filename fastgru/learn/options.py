"""The options of a fit, and the report of each of its steps."""

import math
from collections.abc import Callable, Sequence
from os import PathLike
from typing import Any, NamedTuple, TypedDict

import numpy as np

from fastgru.errors import ShapeError

__all__ = ["Asked", "FitOptions", "FitStep", "check_seed", "checked"]

Data = Sequence[Any]


class FitStep(NamedTuple):
    """One step of a fit.

    step, steps: the number of this step, from 1, and the number of steps of the whole fit.
    epoch: the number of the epoch, from 1.
    loss: the mean loss over the window of this step, before its update.
    held_out: the mean loss over the held-out data at the end of an epoch. None elsewhere, and without held-out data.
    """

    step: int
    steps: int
    epoch: int
    loss: float
    held_out: float | None


class FitOptions(TypedDict, total=False):
    """The keyword options of `fit` that have defaults.

    weight_decay: the decay of the trained weights, by the formula of the optimizer. The default is 0.
    clip_norm: the largest Euclidean norm of all gradients together. Larger gradients are scaled down to this norm. By
        default there is no limit.
    epochs: how many times the fit goes through the data. The default is 1.
    window: the number of time steps after which the gradient is cut. By default, a window is the whole sequence.
    held_out: (x, targets) or (x, targets, mask) to measure the loss on after each epoch. The fit never learns from
        these data. If they are given, the result has the weights with the lowest held-out loss.
    patience: the fit ends after this many epochs without a lower held-out loss. By default it does not end early.
    steps: the largest number of steps, in all epochs together. By default there is no limit.
    seed: decides the order of the sets of rows if `data` is a list. The default is 0.
    output: the name of the output that the loss is computed from. Needed only if the network has several.
    threads: the number of cores to use. The default is 1.
    dtype: the dtype of the computation, "float32" (the default) or "float64".
    gate_bytes: how many bytes the gates kept for the backward pass may take. Gates that do not fit are computed again.
        By default all gates are kept.
    progress: True prints a line on stderr. A function is called with a `FitStep` after each step. The default is False.
    checkpoint: the path of a file. If it exists, the fit continues from it. The fit writes it after each epoch and
        after every `checkpoint_steps` steps.
    checkpoint_steps: the default is 100.
    """

    weight_decay: float
    clip_norm: float
    epochs: int
    window: int
    held_out: Data
    patience: int
    steps: int
    seed: int
    output: str
    threads: int
    dtype: str
    gate_bytes: int
    progress: bool | Callable[[FitStep], object]
    checkpoint: str | PathLike[str]
    checkpoint_steps: int


class Asked(NamedTuple):
    weight_decay: float = 0.0
    clip_norm: float | None = None
    epochs: int = 1
    window: int | None = None
    held_out: Data | None = None
    patience: int | None = None
    steps: int | None = None
    seed: int = 0
    output: str | None = None
    threads: int = 1
    dtype: str = "float32"
    gate_bytes: int | None = None
    progress: bool | Callable[[FitStep], object] = False
    checkpoint: str | PathLike[str] | None = None
    checkpoint_steps: int = 100


def checked(options: Any) -> Asked:
    """Return the options with their defaults. Raises `TypeError` for an unknown one, `ShapeError` for a wrong value."""
    if unknown := sorted(set(options) - set(Asked._fields)):
        raise TypeError(f"fit has no option {', '.join(unknown)}; its options are {', '.join(Asked._fields)}")
    asked = Asked(**options)
    for name in ("epochs", "window", "patience", "steps", "threads", "gate_bytes", "checkpoint_steps"):
        value = getattr(asked, name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1):
            raise ShapeError(f"{name} is {value!r}, expected an integer of at least 1")
    for name in ("weight_decay", "clip_norm"):
        value = getattr(asked, name)
        if value is not None and not (isinstance(value, int | float) and 0 <= value < math.inf):
            raise ShapeError(f"{name} is {value!r}, expected a number of at least 0")
    if asked.dtype not in ("float32", "float64"):
        raise ShapeError(f"dtype is {asked.dtype!r}, expected 'float32' or 'float64'")
    check_seed(asked.seed)
    if asked.patience is not None and asked.held_out is None:
        raise ShapeError("patience needs held_out: it counts epochs without a lower held-out loss")
    return asked


def check_seed(seed: Any) -> None:
    """Raise `ShapeError` if this is not a seed of random numbers."""
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise ShapeError(f"seed is {seed!r}, expected an integer of at least 0")
