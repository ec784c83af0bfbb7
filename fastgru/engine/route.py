"""A program, together with everything that a call of it needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final

import numpy as np

from fastgru.engine.program import CallFrame, Program
from fastgru.engine.worth import Sharing, Trial
from fastgru.errors import ShapeError
from fastgru.graph import Array
from fastgru.kernels.run import MISFIT
from fastgru.kernels.table import PAUSED

__all__ = ["Route"]


_MAX_IDLE_FRAMES: Final = 4
_MOST_STACKED: Final = 1 << 28  # bytes of the outputs that come in blocks

_empty = np.empty


class Route:
    """A program and what its calls need: the team that runs it, idle frames, and the shapes and dtypes of outputs."""

    def __init__(self, program: Program, spin_us: float = 0) -> None:
        self.program, self.sharing = program, Sharing(program.members, program.gain_s, spin_us)
        self.inputs = tuple(program.inputs)
        self.outputs = [(name, slot.shape, np.dtype(slot.dtype)) for name, slot in program.outputs.items()]
        self._idle: list[CallFrame] = [self.new_frame()]
        self.nbytes = program.nbytes + _MAX_IDLE_FRAMES * self._idle[0].nbytes

    def new_frame(self) -> CallFrame:
        return CallFrame(self.program)

    def call(self, inputs: tuple[Any, ...], outputs: tuple[Any, ...]) -> bool:
        """Run on the caller's arrays. Return False, without running, if one does not fit. Raises as `CallFrame.run`."""
        try:
            frame = self._idle.pop()
        except IndexError:
            frame = self.new_frame()
        if self.sharing.members > 1:
            code = frame.call_on(self.sharing.team(partial(self.trial, inputs)), inputs, outputs)
        else:
            code = frame.call(frame.ticket, inputs, outputs)
        if len(self._idle) < _MAX_IDLE_FRAMES:
            self._idle.append(frame)
        if code > 0:
            frame.raise_for(code)
        return code == 0

    def call_in_blocks(self, inputs: tuple[Any, ...], outputs: Mapping[str, Array]) -> dict[str, Array] | None:
        """Run a program that fills some of its outputs block by block.

        Returns every output by name, or None if an array does not fit. Raises as `call`, and `ShapeError` if the
        blocks take more than `_MOST_STACKED` bytes.
        """
        try:
            frame = self._idle.pop()
        except IndexError:
            frame = self.new_frame()
        given, taken, code = tuple(outputs.values()), 0, PAUSED
        blocks: dict[str, list[Array]] = {name: [] for name in self.program.open_ended}
        while code == PAUSED:
            code = frame.call(frame.ticket, inputs, given)
            if code not in (0, PAUSED, MISFIT):
                frame.raise_for(code)
            for name, block in blocks.items():
                block.append(outputs[name][: frame.rows].copy())
                taken += block[-1].nbytes
            if taken > _MOST_STACKED:
                raise ShapeError(f"what a loop stacks takes {taken} bytes and more, expected at most {_MOST_STACKED}")
        if code == MISFIT:
            return None
        if len(self._idle) < _MAX_IDLE_FRAMES:
            self._idle.append(frame)  # a frame that paused and was not resumed never comes here
        whole = {name: block[0] if len(block) == 1 else np.concatenate(block) for name, block in blocks.items()}
        return {**outputs, **whole}

    def plain(self, inputs: Sequence[Array], outputs: Sequence[Array]) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
        """Return the arrays in the form that native code takes: of no subclass, and with NumPy's own dtype objects.

        The dtype of an array that was pickled is equal to NumPy's own, but may be another object.
        """
        ins = [np.dtype(slot.dtype) for slot in self.program.inputs.values()]
        return (
            tuple([np.asarray(array).view(dtype) for array, dtype in zip(inputs, ins, strict=True)]),
            tuple([np.asarray(array).view(dtype) for array, (_, _, dtype) in zip(outputs, self.outputs, strict=True)]),
        )

    def trial(self, inputs: tuple[Any, ...]) -> Trial:
        """Return a function that runs on these arrays, on a team or alone, and discards the outputs."""
        frame, outputs = CallFrame(self.program), tuple([_empty(shape, dtype) for _, shape, dtype in self.outputs])
        return partial(frame.call_on, inputs=inputs, outputs=outputs)
