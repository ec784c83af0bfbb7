"""A model that is served: its sessions, and what requests of it may carry."""

import time
from collections.abc import Callable
from math import prod
from typing import Any, Final

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

    model: what runs. inputs, outputs: what requests carry, without the states. is_stateful: requests may belong to a
    sequence. pool, sessions: where the states are, and whose; None for a model without a state. statistics: counts of
    what it has done. groups: what runs frames, by their shapes, and batch_axes: of each input, None where rows are not
    to be put together. fingerprint: of the model. is_loaded: it takes requests. keeper: what has its sessions on disk,
    if anything.

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
        self.sessions: Sessions | None = None
        self.keeper: Keeper | None = None
        self._shapes = shapes = Shapes(name, model, self.inputs, self.statistics, settings.capacity)
        self.groups, self.batch_axes, self.pool = shapes.groups, shapes.batch_axes, shapes.pool
        if self.pool is not None:
            capacity = min(settings.capacity, self.pool.capacity // 2)
            self.sessions = Sessions(name, self, capacity, settings.idle_seconds, clock, any_target=settings.any_target)

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
        self.pool = self.sessions = self.keeper = None
        with lock:
            self.model._runnable.budget.clear()  # plans keep the model: a circle, for which nobody may come to look
        del self.model, self._shapes

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
