"""Streams over models with foreign nodes: the state carried from call to call, without the native push."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastgru.errors import ShapeError, StateError
from fastgru.model.stream import Stream
from fastgru.reference.operator import as_array

__all__ = ["PiecesStream"]

Array = NDArray[Any]


class PiecesStream(Stream):
    """A `Stream` whose push is a run of the whole model: every foreign node is slow, so nothing else is bound ahead."""

    def _push(self, frames: tuple[ArrayLike, ...], out: Array | tuple[Array, ...] | None) -> Any:
        if len(frames) != len(self.inputs):
            raise ShapeError(f"push: got {len(frames)} arrays, expected {len(self.inputs)}: {', '.join(self.inputs)}")
        given = {name: as_array("push", a) for name, a in zip(self.inputs, frames, strict=True)}
        before, version = self._read()
        results = self._executable.run({**given, **before})
        after = {name: results[output] for name, output in self._states.items()}
        for name, output in self._states.items():
            came, state = after[name], before[name]
            if came.shape != state.shape or came.dtype != state.dtype:
                raise StateError(
                    f"state {name!r} is {state.dtype} {state.shape}, but its next value {output!r} came as"
                    f" {came.dtype} {came.shape}"
                )
        ys = [results[name] for name in self.outputs]
        if out is not None:
            self._put(ys, out if isinstance(out, tuple) else (out,))
        self._write(after, version)
        if out is not None:
            return out
        return ys[0] if len(ys) == 1 else tuple(ys)

    def _put(self, ys: list[Array], targets: tuple[Array, ...]) -> None:
        came = [(t.dtype.name, t.shape) if isinstance(t, np.ndarray) else type(t).__name__ for t in targets]
        expected = [(y.dtype.name, y.shape) for y in ys]
        if came != expected:
            raise ShapeError(f"out: got {came}, expected {expected}")
        if not all(t.flags.writeable for t in targets):
            raise ShapeError("out: got an array that cannot be written")
        if any(np.may_share_memory(a, b) for a, b in itertools.combinations(targets, 2)):
            raise ShapeError("out: two of the arrays overlap, expected arrays of their own")
        for target, y in zip(targets, ys, strict=True):
            target[...] = y
