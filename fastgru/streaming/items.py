"""The data of a call of `predict`: sequences, plans, and the memory that they may take."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field
from typing import Any

from fastgru.budget import Budget
from fastgru.engine.program import CallFrame, Program
from fastgru.engine.route import Route
from fastgru.errors import FastGRUError
from fastgru.graph import Array
from fastgru.records import dataclass

__all__ = ["Call", "Finish", "Item", "Planned"]

Finish = Callable[[tuple[Array, ...]], Any]  # makes the result of one sequence from its outputs


@dataclass
class Item:
    """A sequence: its number, its arrays without a batch axis, its steps, the bytes of its inputs and outputs, and its
    result or error."""

    number: int
    arrays: list[Array]
    steps: int
    nbytes: int
    result: Any = None
    error: FastGRUError | None = None


class Planned(Route):
    """A route whose runs can be stopped."""

    def __init__(self, program: Program) -> None:
        self._frames: list[CallFrame] = []
        super().__init__(program)

    def new_frame(self) -> CallFrame:
        self._frames.append(super().new_frame())
        return self._frames[-1]

    def stop(self) -> None:
        """Have all runs end in `StoppedError`."""
        for frame in self._frames:
            frame.stop()


@dataclass
class Call:
    """The plans of one call of `predict`, and the memory that it may take."""

    max_rows: int
    share: int  # bytes that one thread may take
    plans: Budget
    finish: Finish
    factor: float = 1.0  # bytes that a run takes per byte of inputs and outputs, as far as known
    routes: dict[tuple[tuple[int, ...], ...], Planned | None] = field(default_factory=dict)

    def stop(self) -> None:
        """Have all runs of this call end in `StoppedError`."""
        for route in list(self.routes.values()):
            if route is not None:
                route.stop()
