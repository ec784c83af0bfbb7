"""The plans that run the frames of a pool's sessions: one for each combination of shapes, made at its first push.

A new plan is proved not to mix rows. Later pushes of the same shapes plan nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from fastgru.engine import Runnable
from fastgru.errors import ShapeError
from fastgru.graph import Array
from fastgru.process import lock
from fastgru.reference import bind_inputs
from fastgru.reference.operator import as_array
from fastgru.streaming.batch import Axes
from fastgru.streaming.proof import prove, rehearse
from fastgru.streaming.rows import RowsPlan, Shapes, with_rows
from fastgru.streaming.rows_run import RowsRun
from fastgru.streaming.store import Single, Store

__all__ = ["Group", "Plan", "Plans"]

Plan = RowsPlan | RowsRun
Group = tuple[Plan, Array, tuple[Array, ...]]  # the plan, the sessions, their frames
_Result = TypeVar("_Result")


class Plans:
    """The plans of a pool whose sessions are in `store`. states: {input: output}. single: as for `Store`.

    inputs: the names of the inputs that are no states.
    """

    def __init__(
        self,
        runnable: Runnable,
        states: Mapping[str, str],
        axes: Axes,
        single: Single,
        capacity: int,
    ) -> None:
        self._start = {n: runnable.graph.start(n, shape, dtype) for n, (shape, dtype, _) in single.items()}
        self.store = Store(single, capacity, self._start)
        self._runnable, self._states, self._rows, self._single = runnable, states, axes, single
        self._axes = axes.inputs
        specs = [spec for spec in runnable.inputs if spec.name not in states]
        self.inputs = tuple([spec.name for spec in specs])
        self._specs = [replace(s, shape=s.shape and with_rows(s.shape, self._axes[s.name], None)) for s in specs]
        self._dtypes = [np.dtype(spec.dtype) for spec in self._specs]
        self._plans: dict[Shapes, Plan] = {}

    def arrays(self, what: str, frames: tuple[ArrayLike, ...]) -> tuple[Array, ...]:
        """Return frames of several rows as arrays, each with the axis for the rows. Raises `ShapeError`."""
        if len(frames) != len(self.inputs):
            raise ShapeError(f"{what}: got {len(frames)} arrays, expected {len(self.inputs)}: {', '.join(self.inputs)}")
        arrays = tuple([as_array(f"{what}: {name}", a) for name, a in zip(self.inputs, frames, strict=True)])
        for name, array in zip(self.inputs, arrays, strict=True):
            if array.ndim <= self._axes[name]:
                raise ShapeError(f"{what}: {name} has shape {array.shape}, expected rows on axis {self._axes[name]}")
        return arrays

    def _first_rows(self, arrays: tuple[Array, ...]) -> tuple[Array, ...]:
        """Return the first row of each array, or zeros if the array has no row."""
        return tuple(
            [
                np.take(a, [0], axis) if a.shape[axis] else np.zeros(with_rows(a.shape, axis, 1), a.dtype)
                for a, axis in zip(arrays, map(self._axes.__getitem__, self.inputs), strict=True)
            ]
        )

    def group(self, sessions: Array, arrays: tuple[Array, ...]) -> Group:
        """Return the plan for these frames, and the frames as the plan takes them. Raises `ShapeError` for a misfit."""
        bound = bind_inputs(self._specs, dict(zip(self.inputs, arrays, strict=True)))
        fitted = tuple(
            [
                np.ascontiguousarray(a, dtype).reshape(a.shape).view(dtype)
                for a, dtype in zip(bound.values(), self._dtypes, strict=True)
            ]
        )
        shapes = tuple([with_rows(a.shape, self._axes[n], 1) for n, a in zip(self.inputs, fitted, strict=True)])
        plan = self._plans.get(shapes)
        return plan or self._make_plan(shapes, self._first_rows(fitted)), sessions, fitted

    def _make_plan(self, shapes: Shapes, first: tuple[Array, ...]) -> Plan:
        """Make, prove and keep the plan for frames of these shapes. first: frames of one row, for the proof."""
        runnable, plan = self._runnable, None
        states = {name: field.shape(1) for name, field in self.store.fields.items()}
        own = dict(zip(self.inputs, shapes, strict=True))
        made: Plan
        one = runnable.planned({**own, **states})
        if one is None:
            made = RowsRun(runnable, self.store, self._states, self._rows, first)
        else:
            made = plan = RowsPlan(runnable, self.store, self._states, self._rows, shapes, one)
        if made.together and self.store.capacity > 1:
            prove(made, runnable.graph, partial(Store, self._single, 2, self._start), first)
        if plan is not None:
            plan.choose_teams(first)
        with lock:
            self._plans[shapes] = made
            runnable.budget.add(id(made), made.nbytes, partial(self._plans.pop, shapes, None))
        return made

    def at_hand(self, frames: Any) -> Plan | None:
        """Return the plan for frames of these shapes, None if it does not exist yet."""
        given = frames if isinstance(frames, tuple) else (frames,)
        try:
            shapes = tuple([with_rows(a.shape, self._axes[n], 1) for n, a in zip(self.inputs, given, strict=True)])
            plan = self._plans.get(shapes)
        except (AttributeError, TypeError, ValueError):
            return None
        if plan is not None and lock.acquire(blocking=False):  # a thread that plans may hold it for long
            try:
                self._runnable.budget.touch(id(plan))
            finally:
                lock.release()
        return plan

    def push(self, groups: Sequence[Group], finish: Callable[[list[tuple[Array, ...]]], _Result]) -> _Result:
        """Push all groups, or none, and return what `finish` makes of their outputs.

        If `finish` raises, all states stay as they were.
        """
        settle, held, moves = self.store.settle, 0, 0
        frames, results = [], []
        try:
            for plan, sessions, arrays in groups:
                frames.append(plan.frame())
                held = frames[-1].chain_to(held)
                results.append(plan.run(frames[-1], sessions, arrays))
            made = finish(results)
            moves = 1
        finally:
            settle(held, moves)  # one native call, which no exception can interrupt
        for (plan, _, _), frame in zip(groups, frames, strict=True):
            plan.give_back(frame)
        return made

    def warm_up(self, frames: tuple[ArrayLike, ...]) -> Plan:
        """Return the plan for these frames, after it has run every program once, on sessions that nobody uses."""
        plan, _, bound = self.group(np.zeros(0, np.int64), self.arrays("warm_up", frames))
        first = self._first_rows(bound)
        sizes = sorted(plan.programs) if isinstance(plan, RowsPlan) else [1]
        store = Store(self._single, max(sizes), self._start)
        for rows in sizes:
            rehearse(plan, store, [first] * rows)
        return plan
