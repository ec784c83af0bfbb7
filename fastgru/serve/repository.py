"""The models that are served, by name, and how one is loaded again while requests for it come."""

import asyncio
import logging
import re
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

from fastgru.load import load
from fastgru.model import Model
from fastgru.serve.durable.folder import Folder
from fastgru.serve.errors import ServeError
from fastgru.serve.log import event
from fastgru.serve.models import VERSION, Served
from fastgru.serve.settings import Settings

__all__ = ["Repository"]

_SWEEP_S: Final = 1.0
_RETRY_S: Final = 1.0
_STATE: Final = re.compile(r"(?i)state|cache|hidden|memory|(?<![a-z])[hc]_?(?:\d+|n|in|prev)?(?![a-z])")


def _unnamed_states(model: Model) -> list[str]:
    """Return the inputs with names that are typical of states, if there is an output of the same type and shape."""
    states = model.graph.states
    made = [(spec.dtype, spec.shape) for spec in model.outputs if spec.name not in states.values()]
    return [
        spec.name
        for spec in model.inputs
        if spec.name not in states and _STATE.search(spec.name) and (spec.dtype, spec.shape) in made
    ]


class Repository:
    """The models by name.

    sources: the file, or the model in memory, that each name stood for at the start. folder: keeps sessions on disk, if
    it is given. loads: load the models now; if False, `loading` has the names of models that are not loaded yet, and
    requests for these are told to come again. lock: is held while a model is loaded or unloaded. changed: functions
    that are called with a model that was replaced or unloaded, and with its successor, or None.

    Raises what `fastgru.load` raises for a file that cannot be served.
    """

    def __init__(
        self,
        sources: Mapping[str, str | Path | Model],
        settings: Settings,
        clock: Callable[[], int] = time.monotonic_ns,
        folder: Folder | None = None,
        *,
        loads: bool = True,
    ) -> None:
        self._folder = folder
        self._sources, self._settings, self._clock = dict(sources), settings, clock
        self._served: dict[str, Served] = {}
        self._unloading: dict[str, Served] = {}
        self.lock = asyncio.Lock()
        self.changed: list[Callable[[Served, Served | None], None]] = []
        self.loading = list(self._sources)
        for name in self._sources if loads else ():
            self.load(name)

    def __iter__(self) -> Iterator[Served]:
        return iter(tuple(self._served.values()))

    def get(self, name: str, version: str | None = None) -> Served:
        """Return the model of this name. Raises `ServeError`: 404 if it is not loaded, 503 while it is being loaded."""
        served = self._served.get(name)
        if served is None and name in self.loading:
            raise ServeError(503, f"model {name!r} is being loaded", reason="loading", retry_after_s=_RETRY_S)
        if served is None or version not in (None, VERSION):
            what = f"model {name!r:.160}" + (f", version {version!r:.40}," if version is not None else "")
            here = f"the loaded models are {', '.join(self._served)}" if self._served else "no model is loaded"
            raise ServeError(404, f"{what} is not loaded; {here}", reason="model")
        return served

    def index(self) -> list[tuple[str, str, str, str]]:
        """Return (name, version, state, reason for the state) of every model that was named at the start.

        The states are Triton's: "LOADING", "READY", "UNLOADING" and "UNAVAILABLE". A former model that sessions still
        use is listed after the new one, as unloading.
        """
        found = []
        for name in self._sources:
            served = self._served.get(name)
            if name in self.loading:
                found.append((name, VERSION, "LOADING", "its file is being read"))
            elif name in self._unloading:
                found.append((name, VERSION, "UNLOADING", "its requests are being answered"))
            elif served is None:
                found.append((name, VERSION, "UNAVAILABLE", "unloaded"))
            else:
                found.append((name, VERSION, "READY", ""))
                for former in served.formers:
                    count = former.live + former.parked
                    what = f"was loaded again; {count} sequences go on with model {former.fingerprint[:12]}"
                    found.append((name, VERSION, "UNLOADING", what))
        return found

    def read(self, name: str) -> Served:
        """Read the model of this name and return it, without serving it yet. May run on any thread.

        Raises `ServeError`, 404, for a name that was not given at the start, and what `fastgru.load` raises.
        """
        source = self._sources.get(name)
        if source is None:
            raise ServeError(
                404,
                f"model {name!r:.160} was not named at the start; the models named then are {', '.join(self._sources)}",
                reason="model",
            )
        if isinstance(source, Model):
            return Served(name, source, self._settings, self._clock)
        options = self._settings.of(name).reading
        options |= {part: list(options[part]) for part in ("inputs", "outputs") if part in options}
        return Served(name, load(source, **options), self._settings, self._clock)

    def load(self, name: str) -> Served:
        """Read the model of this name, and serve it instead of the one before, which keeps its sessions."""
        return self.put(self.read(name))

    def put(self, served: Served) -> Served:
        """Serve this model instead of the one before, which keeps its sessions. Raises `SettingsError`."""
        if self._folder is not None:
            served.keep_in(self._folder)
        before = self._served.get(served.name)
        if before is not None:
            served.replace(before)
            served.retire()
        self._served[served.name] = served
        if served.name in self.loading:
            self.loading.remove(served.name)
        event(
            "load",
            f"model {served.name} is loaded",
            model=served.name,
            fingerprint=served.fingerprint,
            former_sessions=sum([former.live for former in served.formers]),
        )
        if served.can_open:
            event(
                "states",
                f"model {served.name}: its states begin inside its file, and every request starts from them; with"
                " --open-states, the server keeps the states of each sequence",
                model=served.name,
            )
        if unnamed := _unnamed_states(served.model):
            event(
                "states",
                f"model {served.name}: {', '.join(unnamed)} may be states, and are inputs and outputs of every request:"
                " where they are, save the model with its states named, as the page about serving shows",
                level=logging.WARNING,
                model=served.name,
                inputs=unnamed,
            )
        if before is not None:
            self._tell(before, served)
        return served

    def unload(self, name: str) -> Served:
        """Take no more requests for a model, and end its sessions, except those that have requests in progress.

        The caller must call `finish` with the returned model until that returns True. Raises what `get` raises.
        """
        served = self.get(name)
        for each in (served, *served.formers):
            each.is_loaded = each.is_alone = False
        del self._served[name]
        self._unloading[name] = served
        event("unload", f"model {name} is unloaded", model=name)
        self._tell(served, None)
        self.finish(served)
        return served

    def finish(self, served: Served) -> bool:
        """End the sessions without requests of a model that is being unloaded; return whether the unloading is done."""
        if self._unloading.get(served.name) is not served:
            return True
        for session in served.sessions or ():
            if session.forget is not None:
                session.forget(session)  # drop jobs that wait for earlier steps, which will not come any more
            if not session.busy and served.sessions is not None:
                served.sessions.end(session, "unloaded")
                if session.on_end is not None:
                    session.on_end("unloaded")
        everyone = (served, *served.formers)
        if served.sessions is not None:
            served.sessions.unload()
        if any(each.live or each.statistics.pending for each in everyone):
            return False
        del self._unloading[served.name]
        for each in everyone:
            each.close()
        return True

    def _tell(self, before: Served, now: Served | None) -> None:
        for told in self.changed:
            told(before, now)

    def sweep(self) -> float:
        """End sessions that are idle for too long, and free former models that nobody uses.

        Returns the seconds until the next call.
        """
        wait = _SWEEP_S
        for served in self:
            if served.sessions is not None:
                before = served.sessions.evicted
                wait = min(wait, max(0.001, served.sessions.expire()))
                if count := served.sessions.evicted - before:
                    text = f"{count} sequences of model {served.name} were ended: nobody had used them"
                    event("evicted", text, level=logging.DEBUG, model=served.name, sequences=count)
            if served.formers:
                served.retire()
        return wait
