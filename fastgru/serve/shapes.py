"""The groups that run the frames of a model, one for each shape, over the pool that has the model's states."""

import logging
from typing import Any, Final

import numpy as np

from fastgru.errors import InvalidModelError, ShapeError, StateError, UnsupportedModelError
from fastgru.model import Model
from fastgru.serve.cost import LONG_NS, answer_bytes, operations
from fastgru.serve.cutting import Time, find_time
from fastgru.serve.errors import ServeError
from fastgru.serve.fields import Field
from fastgru.serve.groups import Frames, Group
from fastgru.serve.log import event
from fastgru.serve.rows import Pool, Stateless, Streams
from fastgru.serve.statistics import Statistics
from fastgru.streaming import SessionPool
from fastgru.streaming.batch import find_batch_axes

__all__ = ["Shapes", "key_of"]

_MOST_GROUPS: Final = 256  # how many groups are kept
_MOST_ROWS: Final = 64  # rows of a request that borrows places of the pool for them
_LONGEST: Final = 64  # steps of the longest part of a sequence
_PLAN_NS: Final = 20e6  # the additional time of the first push of a shape
_FLOPS_PER_NS: Final = 10.0
_TRIED: Final = (1, 16, 128)  # numbers of steps that are tried until the model takes one


class Shapes:
    """The shapes of one model's frames; the shortest ones have been run.

    inputs: the fields of requests. capacity: how many sessions the pool should hold, besides places to borrow. pool:
    holds the states; None for a model without a state. groups: run frames, by their shapes. time: the axes along which
    sequences may be cut, None if they may not be.
    """

    def __init__(
        self, name: str, model: Model, inputs: tuple[Field, ...], statistics: Statistics, capacity: int
    ) -> None:
        self._name, self._model, self._inputs, self._statistics = name, model, inputs, statistics
        self._is_stateful = bool(model.graph.states)
        self.groups: dict[tuple[Any, ...], Group] = {}
        self.pool: Pool | None = None
        self.time: Time | None = None
        self._shortest: Group | None = None
        self._parts_ns: dict[int, float] = {}  # the time of one row, by the steps of a part
        self._longest, self._flops_per_ns = 1, _FLOPS_PER_NS
        self._axes: dict[str, int] | None = None
        self._runs: Pool | Stateless
        if self._is_stateful:
            # Jobs borrow places while they run.
            self._runs = self.pool = self._make_pool(2 * capacity + 8 * _MOST_ROWS)
        else:
            self._runs, self._axes = Stateless(model), self._batch_axes()
        self._warm_up()

    def _make_pool(self, capacity: int) -> Pool:
        """Return a pool of as many sessions as memory holds, or streams if the pool does not take this model."""
        try:
            pool = SessionPool(self._model, capacity)
            self._axes = pool.batch_axes
            self._try(pool)
            return pool
        except (UnsupportedModelError, StateError):
            self._axes = None
            return Streams(self._model.stream, capacity)
        except ShapeError as error:
            if capacity < 8 * _MOST_ROWS:
                raise
            event(
                "capacity", f"model {self._name}: {error}; trying half of them", level=logging.WARNING, model=self._name
            )
            return self._make_pool(capacity // 2)

    def _try(self, pool: Pool | Stateless) -> Group | None:
        """Return a group that runs the shortest frames of zeros that the model takes, or None if it takes none.

        Raises `UnsupportedModelError` if rows depend on one another.
        """
        for steps in _TRIED:
            frames = self._zeros(steps)
            group = Group(pool, tuple([a.shape for a in frames]), self.batch_axes, 0, self._statistics)
            try:
                group.prepare(frames)
            except (ShapeError, InvalidModelError):
                continue
            return group
        return None

    @property
    def batch_axes(self) -> tuple[int, ...] | None:
        return None if self._axes is None else tuple([self._axes[field.name] for field in self._inputs])

    def _batch_axes(self) -> dict[str, int] | None:
        """Return the batch axis of each input, or None if some input has no free batch axis."""
        names = [spec.name for spec in self._model.inputs]
        free = {spec.name: [i for i, n in enumerate(spec.shape or ()) if n is None] for spec in self._model.inputs}
        found = find_batch_axes(self._model.graph, names, {})
        axes = {name: axis for name, axis in found.items() if axis is not None and axis in free[name]}
        return axes if len(axes) == len(names) else None

    def _zeros(self, steps: int) -> Frames:
        """Return frames of zeros with one row and this many steps."""
        rows = self._axes or {}
        return tuple(
            [
                np.zeros(
                    [n if n >= 0 else 1 if i == rows.get(f.name) else steps for i, n in enumerate(f.shape or ())],
                    f.dtype,
                )
                for f in self._inputs
            ]
        )

    def _warm_up(self) -> None:
        """Plan and measure the shortest frames, and the parts of sequences that may be cut."""
        group = self._try(self._runs)
        if group is None:
            return
        self.groups[key_of(group.shapes)] = group
        self._learn(group)
        if self.pool is None or (found := find_time(self._model, self.pool, self._axes or {})) is None:
            return
        self.time, self._shortest, steps = found, group, 1
        self._parts_ns[1] = group.cost.one_ns
        while steps < _LONGEST and 2 * self._parts_ns[steps] <= LONG_NS:
            steps *= 2
            frames = self._zeros(steps)
            group = Group(self._runs, tuple([a.shape for a in frames]), self.batch_axes, 0, self._statistics)
            group.prepare(frames)
            self._parts_ns[steps] = group.cost.one_ns
        self._longest = steps

    def new(self, shapes: tuple[tuple[int, ...], ...]) -> Group:
        """Return a group for frames of new shapes. Raises `ServeError`, 400, if their numbers of rows differ."""
        axes = self.batch_axes
        rows: set[int] = set()
        if axes is not None:
            rows = {shape[axis] for shape, axis in zip(shapes, axes, strict=True)}
            if len(rows) != 1 or (rows == {0} and self._is_stateful):
                raise ServeError(
                    400, f"the inputs {list(shapes)} must have the same number of rows, at least 1", reason="shape"
                )
            axes = None if rows == {0} else axes
        given = dict(zip([field.name for field in self._inputs], shapes, strict=True))
        expected = _PLAN_NS + operations(self._model.graph, given) / self._flops_per_ns
        while len(self.groups) >= _MOST_GROUPS:
            self.groups.pop(next(iter(self.groups)))
        if axes is not None and self._is_stateful and max(rows) > _MOST_ROWS:  # these rows borrow no places
            group = Group(Stateless(self._model, self._axes), shapes, axes, expected, self._statistics)
            group.axes = None
        else:
            group = Group(self._runs, shapes, axes, expected, self._statistics, self.time, self._longest)
            if group.parts and self._shortest is not None:
                parts_ns = sum([self._parts_ns[end - begin] for begin, end in group.parts])
                group.adopt(self._shortest, group.rows * parts_ns)
        group.answer_bytes = answer_bytes(self._model.graph, given)
        self.groups[key_of(shapes)] = group
        return group

    def _learn(self, group: Group) -> None:
        """Learn how many operations of this model run per nanosecond."""
        given = dict(zip([field.name for field in self._inputs], group.shapes, strict=True))
        self._flops_per_ns = operations(self._model.graph, given) / max(1.0, group.cost.one_ns)


def key_of(shapes: tuple[tuple[int, ...], ...]) -> tuple[Any, ...]:
    """Return the key of these shapes in `Served.groups`: for one input, the shape itself."""
    return shapes[0] if len(shapes) == 1 else shapes
