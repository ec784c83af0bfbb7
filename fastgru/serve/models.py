"""A model that is served: its sessions, and the inputs and outputs of its requests."""

import time
from collections.abc import Callable
from math import prod
from typing import Any, Final

from fastgru.importers.opening import can_open
from fastgru.model import Model
from fastgru.process import lock
from fastgru.serve.durable.folder import Folder
from fastgru.serve.durable.keeper import Keeper
from fastgru.serve.errors import ServeError
from fastgru.serve.fields import Field, field_of
from fastgru.serve.groups import Frames, Group
from fastgru.serve.ids import Id
from fastgru.serve.sessions import Sessions
from fastgru.serve.settings import Settings
from fastgru.serve.shapes import Shapes, key_of
from fastgru.serve.statistics import Statistics

__all__ = ["VERSION", "Served"]

VERSION: Final = "1"


class Served:
    """A loaded model under the name that requests call it by.

    inputs, outputs: the fields of requests and answers, without the states. is_stateful: whether requests may belong to
    a sequence. pool: holds the states. sessions: the owners of the states. Both are None for a model without a state.
    statistics: counts of what the model has done. groups: run frames, by their shapes. batch_axes: the batch axis of
    each input, None if rows must not be batched. fingerprint: that of `model`. is_loaded: whether it takes requests.
    keeper: keeps its sessions on disk, None if they are not kept. can_open: whether the model has no state, but would
    have one if it were loaded with `open_states`.

    A file may be loaded again. formers: earlier models of this name that some sessions still use. successor: the model
    for new sessions, None for the newest model. All share one table of sessions. live: how many sessions have their
    states here. is_alone: whether it takes all requests for its name, since no other model has it.
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
        self.is_stateful, self.is_loaded, self.can_open = bool(states), True, can_open(model.graph)
        self.sessions: Sessions | None = None
        self.keeper: Keeper | None = None
        self._shapes = shapes = Shapes(name, model, self.inputs, self.statistics, settings.capacity)
        self.groups, self.batch_axes, self.pool = shapes.groups, shapes.batch_axes, shapes.pool
        if self.pool is not None:
            capacity = min(settings.capacity, self.pool.capacity // 2)
            self.sessions = Sessions(name, self, capacity, settings.idle_seconds, clock, any_target=settings.any_target)

    @property
    def latest(self) -> "Served":
        """The newest model of this name, which new sessions and requests without a session use."""
        return self if self.successor is None else self.successor.latest

    @property
    def counts(self) -> Statistics:
        """The counts of this model and the former ones together, so that reloading a file does not reset counters."""
        total = Statistics()
        for served in (self, *self.formers):
            total.add(served.statistics)
        return total

    def of(self, name: Id | None, key: str | None = None, *, begins: bool = False) -> "Served":
        """Return the model for a request of this sequence: the one that has its session, or else the newest.

        begins: whether the request begins the sequence, see `Sessions.anew`.
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
        """Take the place of `before`, whose sessions keep using it until they end or are moved here."""
        if self.sessions is not None and before.sessions is not None:
            self.sessions = before.sessions
            self.sessions.succeed(self)
        before.successor, self.formers, before.formers = self, [*before.formers, before], []
        self.is_alone = before.is_alone = False

    @property
    def parked(self) -> int:
        """How many sessions on disk need this model."""
        latest = self.latest
        return 0 if self.keeper is None or (self is not latest and self.keeper is latest.keeper) else len(self.keeper)

    def retire(self) -> None:
        """Free the former models that have no sessions and no requests any more."""
        for served in [each for each in self.formers if not (each.live or each.statistics.pending or each.parked)]:
            self.formers.remove(served)
            self.statistics.add(served.statistics)
            served.close()
        self.is_alone = not self.formers

    def close(self) -> None:
        """Free the model, which must have no requests in progress. Later requests for it are refused."""
        self.is_loaded = self.is_alone = False
        self.groups.clear()
        self.pool = self.sessions = self.keeper = None
        with lock:
            self.model._runnable.budget.clear()  # plans refer to the model, and nothing may collect such a cycle soon
        del self.model, self._shapes

    def keep_in(self, folder: Folder) -> None:
        """Keep the model's sessions on disk. Raises `SettingsError` if the folder cannot be used."""
        if self.sessions is None or self.pool is None:
            return
        fields = self.outputs
        step = sum([9 + 8 * len(f.shape or ()) + f.dtype.itemsize * prod(map(abs, f.shape or ())) for f in fields])
        dtypes = [field.dtype for field in fields]
        self.keeper = folder.keeper(self.name, self.fingerprint, self.pool, dtypes, step)

    def check(self, frames: Frames) -> None:
        """Raise `ServeError`, 400, if the arrays do not match `inputs`."""
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
        """Return the group that runs these frames, which must have passed `check`.

        Raises `ServeError`, 400, for several rows in a session, and for inputs with different numbers of rows.
        """
        shapes = tuple([a.shape for a in frames])
        found = self.groups.get(key_of(shapes)) or self._shapes.new(shapes)
        if in_session and found.rows != 1:
            raise ServeError(
                400,
                f"the inputs {list(shapes)} have {found.rows} rows, expected 1 in a sequence",
                reason="shape",
            )
        return found


def _fits(declared: int, size: int) -> bool:
    return declared in (-1, size)
