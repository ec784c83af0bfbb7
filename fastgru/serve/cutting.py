"""Sequences cut along time: whether the parts give the same bits as the whole, and where a sequence is cut.

A model that looks ahead, or normalises over a sequence, is not causal: its sequences stay whole. Whether parts give the
same bits is tried on random numbers. The trial could miss an operation that reads far along an axis, such as a dilated
convolution, so sequences of models with such an operation stay whole, too.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from fastgru.errors import FastGRUError
from fastgru.graph import Array, every_node
from fastgru.model import Model
from fastgru.records import dataclass
from fastgru.serve.rows import Pool

__all__ = ["Time", "cuts", "find_time", "joined", "part"]

_STEPS: Final = (37, 29)  # lengths of the trial sequences
_CUTS: Final = (1, 2, 18)  # where the trial sequence is cut


@dataclass(frozen=True)
class Time:
    """The axis of time in each input, None for an input without one, and in each output."""

    inputs: tuple[int | None, ...]
    outputs: tuple[int, ...]

    def steps(self, shapes: Sequence[tuple[int, ...]]) -> int:
        """Return the number of steps of inputs of these shapes, or 0 if they do not agree."""
        found = {shape[axis] for shape, axis in zip(shapes, self.inputs, strict=True) if axis is not None}
        return found.pop() if len(found) == 1 else 0


def part(array: Array, axis: int | None, begin: int, end: int) -> Array:
    """Return the steps from `begin` to `end` as a contiguous array, or the array itself if it has no axis of time."""
    if axis is None:
        return array
    return np.ascontiguousarray(array[(slice(None),) * axis + (slice(begin, end),)])


def joined(parts: Sequence[tuple[Array, ...]], time: Time) -> tuple[Array, ...]:
    """Concatenate the outputs of the parts along time."""
    return tuple(
        [np.concatenate(each, axis) for each, axis in zip(zip(*parts, strict=True), time.outputs, strict=True)]
    )


def cuts(steps: int, most: int) -> list[tuple[int, int]]:
    """Return (begin, end) of parts whose lengths are powers of two of at most `most`.

    With such parts, few programs serve every length.
    """
    found, begin = [], 0
    while begin < steps:
        size = min(most, 1 << (steps - begin).bit_length() - 1)
        found.append((begin, begin + size))
        begin += size
    return found


def find_time(model: Model, pool: Pool, rows: Mapping[str, int]) -> Time | None:
    """Return the axes of time of a model whose sequences may be cut, or None if they may not.

    rows: the batch axis of each input that has one.
    """
    specs = [spec for spec in model.inputs if spec.name in pool.inputs]
    free = [
        [axis for axis, n in enumerate(spec.shape or ()) if n is None and axis != rows.get(spec.name)] for spec in specs
    ]
    if max(map(len, free), default=0) != 1 or _far(model):
        return None
    axes = tuple([each[0] if each else None for each in free])
    try:
        long, short = (_trial(specs, axes, steps) for steps in _STEPS)
        whole, state = _pushed(pool, [long])
        shorter, _ = _pushed(pool, [short])
        grown = [
            [i for i, (m, n) in enumerate(zip(a.shape, b.shape, strict=True)) if m != n]
            for a, b in zip(whole, shorter, strict=True)
        ]
        if any(len(each) != 1 or a.shape[each[0]] != _STEPS[0] for each, a in zip(grown, whole, strict=True)):
            return None
        time = Time(axes, tuple([each[0] for each in grown]))
        ends = [*_CUTS, _STEPS[0]]
        parts = [
            tuple([part(a, axis, begin, end) for a, axis in zip(long, axes, strict=True)])
            for begin, end in zip([0, *_CUTS], ends, strict=True)
        ]
        pieces, after = _pushed(pool, parts, time)
    except (FastGRUError, ValueError):
        return None
    same = all(a.tobytes() == b.tobytes() for a, b in zip(whole, pieces, strict=True))
    return time if same and state == after else None


def _far(model: Model) -> bool:
    """Return whether an operation reads as far along an axis as the shorter trial sequence is long."""
    for node in every_node(model.graph.nodes):
        weight = model.graph.constants.get(node.inputs[1]) if len(node.inputs) > 1 else None
        kernel = node.attrs.get("kernel") or (() if weight is None else weight.shape[2:])
        if math.prod(node.attrs.get("dilations") or ()) * math.prod(kernel) >= _STEPS[1]:
            return True
    return False


def _trial(specs: Sequence[Any], axes: Sequence[int | None], steps: int) -> tuple[Array, ...]:
    rng = np.random.default_rng(0)
    frames = []
    for spec, axis in zip(specs, axes, strict=True):
        shape = [steps if i == axis else 1 if n is None else n for i, n in enumerate(spec.shape or ())]
        dtype = np.dtype(spec.dtype)
        frames.append(
            rng.standard_normal(shape).astype(dtype) if dtype.kind == "f" else rng.integers(0, 2, shape).astype(dtype)
        )
    return tuple(frames)


def _pushed(
    pool: Pool, parts: Sequence[tuple[Array, ...]], time: Time | None = None
) -> tuple[tuple[Array, ...], bytes]:
    """Push the parts one after another, and return their outputs and the state after them."""
    session = pool.open()
    try:
        results = []
        for frames in parts:
            made = pool.push_rows(np.array([session]), frames if len(frames) > 1 else frames[0])
            results.append(made if isinstance(made, tuple) else (made,))
        return (results[0] if time is None else joined(results, time)), pool.save(session)
    finally:
        pool.close(session)
