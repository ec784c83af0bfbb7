"""A program with what a call of it needs at hand."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fastgru.engine.program import CallFrame, Program
from fastgru.engine.worth import Sharing

__all__ = ["Route"]

Array = NDArray[Any]

_MAX_IDLE_FRAMES: Final = 4

_empty = np.empty


class Route:
    """A program with what a call of it needs at hand: the team that runs it, idle frames, how outputs are made."""

    def __init__(self, program: Program) -> None:
        self.program, self.sharing = program, Sharing(program.members, program.gain_s)
        self.inputs = tuple(program.inputs)
        self.outputs = [(name, slot.shape, np.dtype(slot.dtype)) for name, slot in program.outputs.items()]
        self._idle: list[CallFrame] = [CallFrame(program)]
        self.nbytes = program.nbytes + _MAX_IDLE_FRAMES * self._idle[0].nbytes

    def call(self, inputs: tuple[Any, ...], outputs: tuple[Any, ...]) -> bool:
        """Run on arrays of the caller; False, and nothing done, where one does not fit. Raises as `CallFrame.run`."""
        try:
            frame = self._idle.pop()
        except IndexError:
            frame = CallFrame(self.program)
        if self.sharing.members > 1:
            code = frame.call_on(self.sharing.team(partial(self.attempt, inputs)), inputs, outputs)
        else:
            code = frame.call(frame.ticket, inputs, outputs)
        if len(self._idle) < _MAX_IDLE_FRAMES:
            self._idle.append(frame)
        if code > 0:
            frame.raise_for(code)
        return code == 0

    def plain(self, inputs: Sequence[Array], outputs: Sequence[Array]) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
        """Arrays of the right dtypes as native code takes them: of no subclass, and with NumPy's own objects for their
        dtypes, where a pickled array has another that is equal."""
        ins = [np.dtype(slot.dtype) for slot in self.program.inputs.values()]
        return (
            tuple([np.asarray(array).view(dtype) for array, dtype in zip(inputs, ins, strict=True)]),
            tuple([np.asarray(array).view(dtype) for array, (_, _, dtype) in zip(outputs, self.outputs, strict=True)]),
        )

    def attempt(self, inputs: tuple[Any, ...], team: int) -> None:
        """Run on a team, or alone where it is 0, and throw the outputs away."""
        frame = CallFrame(self.program)
        frame.call_on(team, inputs, tuple([_empty(shape, dtype) for _, shape, dtype in self.outputs]))
