"""The models that are served: each with its sessions, and with what requests may name."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from fastgru.graph import Array
from fastgru.load import load
from fastgru.model import Model
from fastgru.serve.errors import ServeError
from fastgru.serve.fields import Field, field_of
from fastgru.serve.sessions import Pool, Sessions
from fastgru.serve.settings import Settings
from fastgru.serve.statistics import Statistics
from fastgru.streaming import SessionPool

__all__ = ["Repository", "Served"]

VERSION: Final = "1"


class _RowsOverPush:
    """`SessionPool` as the server calls it, until it has these names itself."""

    def __init__(self, pool: SessionPool) -> None:
        self._pool = pool
        self.inputs, self.outputs = pool.inputs, pool.outputs
        self.open, self.close, self.reset = pool.open, pool.close, pool.reset
        self.save, self.load = pool.save, pool.load

    def fork(self, session: int) -> int:
        return self._pool.open(self._pool.save(session))

    def push_rows(self, sessions: Array, frames: Any, out: Any = None) -> Any:
        given = frames if isinstance(frames, tuple) else (frames,)
        axes = [self._pool._axes[name] for name in self.inputs]
        rows = {
            int(session): tuple([np.take(array, [i], axis) for array, axis in zip(given, axes, strict=True)])
            for i, session in enumerate(sessions)
        }
        got = self._pool.push(rows)
        shapes = tuple(array.shape for array in next(iter(rows.values())))
        made = self._pool._output_axes[shapes]
        results = [
            np.concatenate([(each if isinstance(each, tuple) else (each,))[k] for each in got.values()], made[name])
            for k, name in enumerate(self.outputs)
        ]
        return results[0] if len(results) == 1 else tuple(results)

    def warm_up(self, *frames: Array) -> None:
        session = self.open()
        try:
            self._pool.push({session: frames})
        finally:
            self.close(session)


class Served:
    """A loaded model under the name that requests call it by.

    model: what runs. inputs, outputs: what requests carry, without the states. is_stateful: requests may belong to a
    sequence. pool, sessions: where the states are, and whose; None for a model without a state. statistics: counts of
    what it has done.
    """

    def __init__(
        self, name: str, model: Model, settings: Settings, clock: Callable[[], int] = time.monotonic_ns
    ) -> None:
        self.name, self.version, self.model, self.statistics = name, VERSION, model, Statistics()
        states = model.graph.states
        self.is_stateful = bool(states)
        self.pool: Pool | None = None
        self.sessions: Sessions | None = None
        if states:
            self.pool = _RowsOverPush(SessionPool(model, settings.capacity))
            self.sessions = Sessions(name, self.pool, settings.capacity, settings.idle_seconds, clock)
        kept = set(states.values())
        self.inputs: tuple[Field, ...] = tuple(field_of(spec) for spec in model.inputs if spec.name not in states)
        self.outputs: tuple[Field, ...] = tuple(field_of(spec) for spec in model.outputs if spec.name not in kept)

    def check(self, frames: tuple[Array, ...]) -> None:
        """Raises `ServeError`, 400, where these arrays are not what `inputs` takes."""
        if len(frames) != len(self.inputs):
            names = ", ".join(field.name for field in self.inputs)
            raise ServeError(400, f"got {len(frames)} inputs, expected {len(self.inputs)}: {names}", reason="inputs")
        for field, array in zip(self.inputs, frames, strict=True):
            fits = field.shape is None or (
                len(field.shape) == array.ndim
                and all(n in (-1, m) for n, m in zip(field.shape, array.shape, strict=True))
            )
            if array.dtype != field.dtype or not fits:
                shape = "any shape" if field.shape is None else list(field.shape)
                raise ServeError(
                    400,
                    f"input {field.name!r}: got {array.dtype} {list(array.shape)}, expected {field.dtype} {shape}",
                    reason="shape",
                )

    def run(self, frames: tuple[Array, ...]) -> tuple[Array, ...]:
        """What these frames give without a sequence: from zeros, and nothing is kept."""
        if self.is_stateful:
            made = self.model.stream().push(*frames)
            return made if isinstance(made, tuple) else (made,)
        results = self.model.run({field.name: array for field, array in zip(self.inputs, frames, strict=True)})
        return tuple([results[field.name] for field in self.outputs])


class Repository:
    """The models by name. sources: what each was named as at the start: a file, or a model that is in memory.

    Raises what `fastgru.load` does for a file that cannot be served.
    """

    def __init__(
        self,
        sources: Mapping[str, str | Path | Model],
        settings: Settings,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._sources, self._settings, self._clock = dict(sources), settings, clock
        self._served: dict[str, Served] = {}
        for name in self._sources:
            self.load(name)

    def __iter__(self) -> Any:
        return iter(tuple(self._served.values()))

    def get(self, name: str, version: str | None = None) -> Served:
        """The model of this name. Raises `ServeError`, 404, where it is not loaded."""
        served = self._served.get(name)
        if served is None or version not in (None, VERSION):
            what = f"model {name!r:.160}" + (f", version {version!r:.40}," if version is not None else "")
            raise ServeError(404, f"{what} is not here; there are {', '.join(self._served) or 'none'}", reason="model")
        return served

    def index(self) -> list[tuple[str, str, str, str]]:
        """(name, version, "READY" or "UNAVAILABLE", why not) of every model that was named at the start."""
        return [
            (name, VERSION, "READY", "") if name in self._served else (name, VERSION, "UNAVAILABLE", "unloaded")
            for name in self._sources
        ]

    def read(self, name: str) -> Served:
        """The model of this name, read anew; it is not served yet. Raises `ServeError`, 404, for other names."""
        source = self._sources.get(name)
        if source is None:
            raise ServeError(
                404,
                f"model {name!r:.160} was not named at the start; there are {', '.join(self._sources)}",
                reason="model",
            )
        model = (
            source
            if isinstance(source, Model)
            else load(source, precision=self._settings.precision, threads=self._settings.threads)
        )
        return Served(name, model, self._settings, self._clock)

    def load(self, name: str) -> Served:
        """Read the model of this name anew, and serve it instead of the one before, whose sessions end."""
        return self.put(self.read(name))

    def put(self, served: Served) -> Served:
        """Serve this one instead of the one before, whose sessions end."""
        self.unload(served.name, missing_ok=True)
        self._served[served.name] = served
        return served

    def unload(self, name: str, *, missing_ok: bool = False) -> None:
        """End its sessions and serve it no longer. Raises `ServeError`, 404, where it is not loaded."""
        if missing_ok and name not in self._served:
            return
        served = self.get(name)
        del self._served[name]
        for session in served.sessions or ():
            served.sessions.end(session, "unloaded")  # type: ignore[union-attr]
            if session.on_end is not None:
                session.on_end("unloaded")
