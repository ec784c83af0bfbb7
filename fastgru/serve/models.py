"""A model that is served: its sessions, and what requests of it may carry."""

import logging
import time
from collections.abc import Callable
from math import prod
from typing import Any, Final

import numpy as np

from fastgru.errors import InvalidModelError, ShapeError, StateError, UnsupportedModelError
from fastgru.model import Model
from fastgru.process import lock
from fastgru.serve.cost import LONG_NS, answer_bytes, operations
from fastgru.serve.cutting import Time, find_time
from fastgru.serve.durable.folder import Folder
from fastgru.serve.durable.keeper import Keeper
from fastgru.serve.errors import ServeError
from fastgru.serve.fields import Field, field_of
from fastgru.serve.groups import Frames, Group
from fastgru.serve.ids import Id
from fastgru.serve.log import event
from fastgru.serve.rows import Pool, Stateless, Streams
from fastgru.serve.sessions import Sessions
from fastgru.serve.settings import Settings
from fastgru.serve.statistics import Statistics
from fastgru.streaming import SessionPool
from fastgru.streaming.batch import find_batch_axes

__all__ = ["VERSION", "Served", "key_of"]

VERSION: Final = "1"
_MOST_GROUPS: Final = 256  # of shapes that are kept
_MOST_ROWS: Final = 64  # of a request that borrows places of sessions for its rows
_LONGEST: Final = 64  # steps of the largest part of a sequence
_PLAN_NS: Final = 20e6  # what the first push of a shape takes besides
_FLOPS_PER_NS: Final = 10.0
_TRIED: Final = (1, 16, 128)  # steps


class Served:
    """A loaded model under the name that requests call it by.

    model: what runs. inputs, outputs: what requests carry, without the states. is_stateful: requests may belong to a
    sequence. pool, sessions: where the states are, and whose; None for a model without a state. statistics: counts of
    what it has done. groups: what runs frames, by their shapes. fingerprint: of the model. is_loaded: it takes
    requests. keeper: what has its sessions on disk, if anything.

    A file may be loaded anew. formers: the models before, which sessions go on with; successor: what new ones begin
    with, None for the newest. All have one table of sessions. live: how many of them have their states here. is_alone:
    it takes all requests for its name, as there is no other.
    """

    def __init__(
        self, name: str, model: Model, settings: Settings, clock: Callable[[], int] = time.monotonic_ns
    ) -> None:
        self.name, self.version, self.model, self.statistics = name, VERSION, model, Statistics()
        self.fingerprint, self.live, self.is_alone = model.fingerprint, 0, True
        self.formers: list[Served] = []
        self.successor: Served | None = None
        states = model.graph.states
        kept = set(states.values())
        self.inputs: tuple[Field, ...] = tuple([field_of(spec) for spec in model.inputs if spec.name not in states])
        outputs = {spec.name: spec for spec in model.outputs if spec.name not in kept}  # a graph may list one twice
        self.outputs: tuple[Field, ...] = tuple(map(field_of, outputs.values()))
        self.is_stateful, self.is_loaded = bool(states), True
        self.pool: Pool | None = None
        self.sessions: Sessions | None = None
        self.keeper: Keeper | None = None
        self.groups: dict[tuple[Any, ...], Group] = {}
        self._fitting: set[tuple[int, ...]] = set()
        self._time: Time | None = None
        self._shortest: Group | None = None
        self._parts_ns: dict[int, float] = {}  # of one row, by the steps of a part
        self._longest, self._flops_per_ns = 1, _FLOPS_PER_NS
        self._axes: dict[str, int] | None = None
        self._runs: Pool | Stateless
        if states:
            # Jobs borrow places while they run.
            self._runs = self.pool = pool = self._make_pool(2 * settings.capacity + 8 * _MOST_ROWS)
            capacity = min(settings.capacity, pool.capacity // 2)
            self.sessions = Sessions(name, self, capacity, settings.idle_seconds, clock)
        else:
            self._runs, self._axes = Stateless(model), self._batch_axes()
        self._warm_up()

    def _make_pool(self, capacity: int) -> Pool:
        """A pool, of as many sessions as memory holds; streams where it takes none of this model."""
        try:
            pool = SessionPool(self.model, capacity)
            self._axes = pool.batch_axes
            self._try(pool)
            return pool
        except (UnsupportedModelError, StateError):
            self._axes = None
            return Streams(self.model.stream, capacity)
        except ShapeError as error:
            if capacity < 8 * _MOST_ROWS:
                raise
            event(
                "capacity", f"model {self.name}: {error}; trying half of them", level=logging.WARNING, model=self.name
            )
            return self._make_pool(capacity // 2)

    def _try(self, pool: Pool | Stateless) -> Group | None:
        """What runs the shortest frames of zeros that the model takes, if it takes any.

        Raises `UnsupportedModelError` where rows depend on one another.
        """
        for steps in _TRIED:
            frames = self._zeros(steps)
            group = Group(pool, tuple([a.shape for a in frames]), self.batch_axes, 0, self.statistics)
            try:
                group.prepare(frames)
            except (ShapeError, InvalidModelError):
                continue
            return group
        return None

    @property
    def latest(self) -> "Served":
        """What requests that belong to no session, and new sessions, run with."""
        return self if self.successor is None else self.successor.latest

    @property
    def counts(self) -> Statistics:
        """Of all that has been loaded under this name since it was unloaded: what is counted never falls."""
        total = Statistics()
        for served in (self, *self.formers):
            total.add(served.statistics)
        return total

    def of(self, name: Id | None, key: str | None = None, *, begins: bool = False) -> "Served":
        """The model that a request of this sequence is for: where its session is, or the newest one.

        begins: the request begins the sequence, see `Sessions.anew`.
        """
        latest = self.latest
        if name is None or latest.sessions is None:
            return latest
        session = latest.sessions.find(name, key)
        if begins and (session is None or not session.busy):
            return latest
        home: Any = latest.sessions.where(name, key)
        served: Served = home
        return served

    def replace(self, before: "Served") -> None:
        """Be loaded instead of this one, whose sessions go on with it until they end or are moved here."""
        if self.sessions is not None and before.sessions is not None:
            self.sessions = before.sessions
            self.sessions.succeed(self)
        before.successor, self.formers, before.formers = self, [*before.formers, before], []
        self.is_alone = before.is_alone = False

    @property
    def parked(self) -> int:
        """How many of its sessions are on disk, for which it is needed."""
        latest = self.latest
        return 0 if self.keeper is None or (self is not latest and self.keeper is latest.keeper) else len(self.keeper)

    def retire(self) -> None:
        """Let those before it go, memory and all, that have no session and no request any more."""
        for served in [each for each in self.formers if not (each.live or each.statistics.pending or each.parked)]:
            self.formers.remove(served)
            self.statistics.add(served.statistics)
            served.close()
        self.is_alone = not self.formers

    def close(self) -> None:
        """Let go of the model. No request of it is on its way. Who still asks for it is told that it has gone."""
        self.is_loaded = self.is_alone = False
        self.groups.clear()
        self.pool = self.sessions = self._shortest = self.keeper = None
        with lock:
            self.model._runnable.budget.clear()  # plans keep the model: a circle, for which nobody may come to look
        del self.model, self._runs

    @property
    def batch_axes(self) -> tuple[int, ...] | None:
        return None if self._axes is None else tuple([self._axes[field.name] for field in self.inputs])

    def _batch_axes(self) -> dict[str, int] | None:
        """The batch axis of each input and state, where all have one that is free."""
        names = [spec.name for spec in self.model.inputs]
        free = {spec.name: [i for i, n in enumerate(spec.shape or ()) if n is None] for spec in self.model.inputs}
        found = find_batch_axes(self.model.graph, names, {})
        axes = {name: axis for name, axis in found.items() if axis is not None and axis in free[name]}
        return axes if len(axes) == len(names) else None

    def _zeros(self, steps: int) -> Frames:
        """Frames of one row and so many steps."""
        rows = self._axes or {}
        return tuple(
            [
                np.zeros(
                    [n if n >= 0 else 1 if i == rows.get(f.name) else steps for i, n in enumerate(f.shape or ())],
                    f.dtype,
                )
                for f in self.inputs
            ]
        )

    def _warm_up(self) -> None:
        """Plan and measure the shortest frames, and the parts of sequences that may be cut."""
        group = self._try(self._runs)
        if group is None:
            return
        self.groups[key_of(group.shapes)] = group
        self._learn(group)
        if self.pool is None or (found := find_time(self.model, self.pool, self._axes or {})) is None:
            return
        self._time, self._shortest, steps = found, group, 1
        self._parts_ns[1] = group.cost.one_ns
        while steps < _LONGEST and 2 * self._parts_ns[steps] <= LONG_NS:
            steps *= 2
            frames = self._zeros(steps)
            group = Group(self._runs, tuple([a.shape for a in frames]), self.batch_axes, 0, self.statistics)
            group.prepare(frames)
            self._parts_ns[steps] = group.cost.one_ns
        self._longest = steps

    def keep_in(self, folder: Folder) -> None:
        """Have its sessions survive the process. Raises `SettingsError` where the folder cannot be used."""
        if self.sessions is None or self.pool is None:
            return
        fields = self.outputs
        step = sum([9 + 8 * len(f.shape or ()) + f.dtype.itemsize * prod(map(abs, f.shape or ())) for f in fields])
        dtypes = [field.dtype for field in fields]
        self.keeper = folder.keeper(self.name, self.fingerprint, self.pool, dtypes, step)

    def check(self, frames: Frames) -> None:
        """Raises `ServeError`, 400, where these arrays are not what `inputs` takes."""
        if len(frames) != len(self.inputs):
            names = ", ".join(field.name for field in self.inputs)
            raise ServeError(400, f"got {len(frames)} inputs, expected {len(self.inputs)}: {names}", reason="inputs")
        for field, array in zip(self.inputs, frames, strict=True):
            shape = array.shape
            if array.dtype == field.dtype and (
                field.shape is None
                or field.shape == shape
                or (len(field.shape) == len(shape) and all(map(_fits, field.shape, shape)))
            ):
                continue
            expected = "any shape" if field.shape is None else list(field.shape)
            raise ServeError(
                400,
                f"input {field.name!r}: got {array.dtype} {list(shape)}, expected {field.dtype} {expected}",
                reason="shape",
            )

    def group(self, frames: Frames, in_session: bool) -> Group:
        """What runs frames of these shapes, which `check` has passed.

        Raises `ServeError`, 400, for a sequence of several rows.
        """
        shapes = tuple([a.shape for a in frames])
        found = self.groups.get(key_of(shapes)) or self._new_group(shapes)
        if in_session and found.rows != 1:
            raise ServeError(
                400,
                f"a sequence has a batch of 1, and these frames are of {found.rows} rows: {list(shapes)}",
                reason="shape",
            )
        return found

    def _new_group(self, shapes: tuple[tuple[int, ...], ...]) -> Group:
        axes = self.batch_axes
        rows: set[int] = set()
        if axes is not None:
            rows = {shape[axis] for shape, axis in zip(shapes, axes, strict=True)}
            if len(rows) != 1 or (rows == {0} and self.is_stateful):
                raise ServeError(400, f"the inputs {list(shapes)} differ in their rows, or have none", reason="shape")
            axes = None if rows == {0} else axes
        given = dict(zip([field.name for field in self.inputs], shapes, strict=True))
        expected = _PLAN_NS + operations(self.model.graph, given) / self._flops_per_ns
        while len(self.groups) >= _MOST_GROUPS:
            self.groups.pop(next(iter(self.groups)))
        if axes is not None and self.is_stateful and max(rows) > _MOST_ROWS:  # they borrow no places of sessions
            group = Group(Stateless(self.model, self._axes), shapes, axes, expected, self.statistics)
            group.axes = None
        else:
            group = Group(self._runs, shapes, axes, expected, self.statistics, self._time, self._longest)
            if group.parts and self._shortest is not None:
                parts_ns = sum([self._parts_ns[end - begin] for begin, end in group.parts])
                group.adopt(self._shortest, group.rows * parts_ns)
        group.answer_bytes = answer_bytes(self.model.graph, given)
        self.groups[key_of(shapes)] = group
        return group

    def _learn(self, group: Group) -> None:
        """How fast this model runs here."""
        given = dict(zip([field.name for field in self.inputs], group.shapes, strict=True))
        self._flops_per_ns = operations(self.model.graph, given) / max(1.0, group.cost.one_ns)


def key_of(shapes: tuple[tuple[int, ...], ...]) -> tuple[Any, ...]:
    """By which `Served.groups` has what runs them: the shape alone, where there is one input."""
    return shapes[0] if len(shapes) == 1 else shapes


def _fits(declared: int, size: int) -> bool:
    return declared in (-1, size)
