"""A program bound to a state. A push of frames of certain shapes calls it."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from fastgru.budget import Budget
from fastgru.engine.program import CallFrame
from fastgru.engine.route import Route
from fastgru.engine.threads import forget_at_forks
from fastgru.errors import StateError
from fastgru.graph import Array
from fastgru.kernels.run import team_caller
from fastgru.streaming.banks import Banks

__all__ = ["Binding"]


class Binding:
    """The program of `route` on the state in `banks`. states: {input: output}.

    shapes: the shapes of the frames. frames, made: (shape, dtype) of each array that a push takes and returns. call: as
    `CallFrame.call`, by a team if that pays. When a binding is freed, its id is added to `budget.gone`.

    Raises `StateError` if a state would change its shape.
    """

    def __init__(self, route: Route, banks: Banks, states: Mapping[str, str], budget: Budget) -> None:
        self._gone, self._route, self._banks = budget.gone, route, banks
        program, (now, then) = route.program, banks.arrays
        self._inputs = [name for name in program.inputs if name not in states]
        self.frames = [(slot.shape, np.dtype(slot.dtype)) for slot in map(program.inputs.__getitem__, self._inputs)]
        self.shapes = tuple([shape for shape, _ in self.frames])
        outputs = [slot for name, slot in program.outputs.items() if name not in states.values()]
        self.made = [(slot.shape, np.dtype(slot.dtype)) for slot in outputs]
        for name, output in states.items():
            came, following = program.inputs[name].shape, program.outputs[output].shape
            if following != came:
                raise StateError(
                    f"state {name!r} has shape {came}, but its next value {output!r} has shape {following} for inputs"
                    f" of {dict(zip(self._inputs, self.shapes, strict=True))}"
                )
        self.frame = CallFrame(
            program,
            banks.words,
            {name: (now[name], then[name]) for name in now},
            {output: (then[name], now[name]) for name, output in states.items()},
        )
        self.call: Callable[[int, Any, Any], int] = self.frame.call
        self.ticket = self.frame.ticket

    def choose_team(self, arrays: tuple[Array, ...]) -> None:
        """Have a team run the program, if that pays with frames like these."""
        given = {name: np.zeros_like(a) for name, a in self._banks.arrays[0].items()}
        given.update(zip(self._inputs, self.fitting(arrays), strict=True))
        trial = partial(self._route.trial, tuple([given[name] for name in self._route.inputs]))
        if (team := self._route.sharing.team(trial)) is not None:
            forget_at_forks(self)
            self.call = partial(team_caller(), *team)

    def forget_team(self) -> None:
        """Have the next call make a team."""
        self.call = self._call_first

    @property
    def nbytes(self) -> int:
        return self.frame.nbytes + self.frame.program.nbytes

    def fitting(self, arrays: tuple[Array, ...]) -> tuple[Array, ...]:
        """Return the frames in the dtypes, shapes and layout that the program takes."""
        return tuple(
            [
                np.ascontiguousarray(array, dtype).reshape(shape).view(dtype)
                for array, (shape, dtype) in zip(arrays, self.frames, strict=True)
            ]
        )

    def _call_first(self, ticket: int, inputs: Any, outputs: Any) -> int:
        self.call = partial(team_caller(), *self._route.sharing.join())
        return self.call(ticket, inputs, outputs)

    def __del__(self) -> None:
        self._gone.append(id(self))
