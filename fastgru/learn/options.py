"""What a fit may be told, and what it tells of its steps."""

import math
from collections.abc import Callable, Sequence
from os import PathLike
from typing import Any, NamedTuple, TypedDict

import numpy as np

from fastgru.errors import ShapeError

__all__ = ["Asked", "FitOptions", "FitStep", "checked"]

Data = Sequence[Any]


class FitStep(NamedTuple):
    """One step of a fit: its number from 1, of how many; the epoch from 1; the mean loss of its window; and, at the end
    of an epoch, that of the held-out data, where there are any."""

    step: int
    steps: int
    epoch: int
    loss: float
    held_out: float | None


class FitOptions(TypedDict, total=False):
    """What `fit` takes besides.

    weight_decay: 0 where nothing is said. clip_norm: the largest norm of all gradients together. epochs: 1. window:
    steps before gradients are cut, all where nothing is said. held_out: (x, targets) or (x, targets, mask) that are
    never learned from. patience: epochs without a better held-out loss before the end. seed: of the order of several
    sets of rows. threads: 1. dtype: "float32", or "float64". gate_bytes: what gates may take; more are computed twice.
    progress: True for a line on stderr, or a function of `FitStep`. checkpoint: a file that a fit goes on from, where
    it is there, and writes every `checkpoint_steps` (100) steps and epochs.
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
    """The options with their defaults. Raises `TypeError` for what a fit does not take, `ShapeError` for values."""
    if unknown := sorted(set(options) - set(Asked._fields)):
        raise TypeError(f"fit takes no {', '.join(unknown)}; there are {', '.join(Asked._fields)}")
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
    if isinstance(asked.seed, bool) or not isinstance(asked.seed, int | np.integer) or asked.seed < 0:
        raise ShapeError(f"seed is {asked.seed!r}, expected an integer of at least 0")
    if asked.patience is not None and asked.held_out is None:
        raise ShapeError("patience came without held_out, whose loss it waits for")
    return asked
