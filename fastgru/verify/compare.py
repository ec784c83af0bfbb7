"""Compares two runs of the same case: the largest difference of every output and of every time step."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from fastgru.errors import UnsupportedModelError
from fastgru.graph import Array
from fastgru.model import Model
from fastgru.precisions import AUTO, WEIGHT_BYTES
from fastgru.records import dataclass
from fastgru.verify.report import Check

__all__ = ["TOLERANCES", "Run", "check_output", "differences", "largest_by_step", "largest_error", "roughest"]


# The allowed |got - expected| for outputs of magnitude up to 1. For larger outputs it is multiplied by the magnitude.
TOLERANCES = {"float64": 1e-11, "float32": 1e-5, "bfloat16": 5e-2, "int8": 2e-1}
# A network may amplify rounding. Sums in another order are then about as far off as NumPy's, but not equal to them.
_NOISE_FACTOR = 8
_EPSILON = {"float64": 2.0**-52, "float32": 2.0**-23, "bfloat16": 2.0**-7, "int8": 2.0**-7}


@dataclass(frozen=True)
class Run:
    """The outputs of one case, one dict per call."""

    label: str
    calls: Sequence[Mapping[str, Array]]


def check_output(
    name: str,
    time_axis: int | None,
    got: Sequence[Run],
    expected: Sequence[Run],
    *,
    against: str,
    tol: float,
    precision: str,
    noise: float = 0.0,
) -> Check:
    """Return the worst case of output `name`. noise: the change of the output by rounding alone, see `_NOISE_FACTOR`.

    Zeros never pass, unless the expected output is below the precision's epsilon. Nothing passes if no
    expected number is finite.
    """
    worst: Check | None = None
    steps: list[float] = []
    for ours, theirs in zip(got, expected, strict=True):
        errors = [_errors(a[name], b[name], time_axis) for a, b in zip(ours.calls, theirs.calls, strict=True)]
        by_step = [e for call in errors for e in call]
        scale = max((_magnitude(call[name]) for call in theirs.calls), default=0.0)
        exact = all(np.asarray(call[name]).dtype.kind in "iub" for call in theirs.calls)
        # A small output may be the difference of large values, so the limit is at most half of its scale.
        limit = max(tol * max(1.0, scale), _NOISE_FACTOR * noise)
        allowed = 0.0 if exact else min(limit, max(0.5 * scale, _EPSILON[precision]))
        largest = max(by_step, default=0.0)
        timed = time_axis is not None or len(ours.calls) > 1
        step = int(np.argmax(by_step)) if timed and by_step else None
        check = Check(name, against, largest, scale, allowed, largest <= allowed, ours.label, step)
        if worst is None or _excess(check) > _excess(worst):
            worst = check
        if timed:
            steps += [0.0] * (len(by_step) - len(steps))
            steps = [max(a, b) for a, b in zip(steps, [*by_step, *[0.0] * len(steps)], strict=False)]
    assert worst is not None
    values = [np.asarray(call[name]) for theirs in expected for call in theirs.calls]
    is_compared = any(np.isfinite(array).any() for array in values) or not any(array.size for array in values)
    return replace(worst, by_step=tuple(steps), is_compared=is_compared, holds=worst.holds and is_compared)


def roughest(model: Model, asked: str | None) -> str:
    """Return the precision that was asked for, or if that leaves it open, the lowest of the model's weights."""
    if asked is not None and asked not in AUTO:
        return asked
    try:
        found = {chosen.precision for chosen in model.weight_precisions.values()}
    except UnsupportedModelError:  # the precisions are not known before a run, so take those that they may be
        found = {*model.graph.precisions.values(), *AUTO.get(asked or "", ())}
    return min(found, key=lambda precision: WEIGHT_BYTES[precision], default="float32")


def largest_error(name: str, got: Sequence[Run], expected: Sequence[Run]) -> float:
    """Return the largest difference of output `name` over all cases, or 0 if it is infinite."""
    pairs = [
        (a[name], b[name])
        for ours, theirs in zip(got, expected, strict=True)
        for a, b in zip(ours.calls, theirs.calls, strict=True)
    ]
    largest = max((e for a, b in pairs for e in _errors(a, b, None)), default=0.0)
    return largest if np.isfinite(largest) else 0.0


def _excess(check: Check) -> float:
    return float("inf") if check.max_abs == float("inf") else check.max_abs / max(check.allowed, 1e-300)


def _magnitude(array: Array) -> float:
    finite = np.abs(np.asarray(array, np.float64))
    finite = finite[np.isfinite(finite)]
    return float(finite.max()) if finite.size else 0.0


def _errors(got: Array, expected: Array, time_axis: int | None) -> list[float]:
    """Return the largest difference at each step of `time_axis`, or of the whole array if there is no such axis."""
    if np.shape(got) != np.shape(expected):
        return [float("inf")]
    return largest_by_step(differences(np.asarray(got, np.float64), np.asarray(expected, np.float64)), time_axis)


def differences(a: Array, b: Array) -> Array:
    """Return |a - b| of each element: 0 where both are NaN, infinite where only one is."""
    with np.errstate(invalid="ignore"):
        same = (a == b) | (np.isnan(a) & np.isnan(b))
        difference = np.where(same, 0.0, np.abs(a - b))
    return np.where(np.isnan(difference), np.inf, difference)


def largest_by_step(difference: Array, time_axis: int | None) -> list[float]:
    """Return the largest number at each step of `time_axis`, or of the whole array if there is no such axis."""
    steps = [difference] if time_axis is None else np.moveaxis(difference, time_axis, 0)
    return [float(step.max(initial=0.0)) for step in steps]
