"""The models that are served, by name: which there are, and how one is loaded anew while others ask for it."""

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
    """Inputs that are called as states are, for which there is an output of the same type and shape."""
    states = model.graph.states
    made = [(spec.dtype, spec.shape) for spec in model.outputs if spec.name not in states.values()]
    return [
        spec.name
        for spec in model.inputs
        if spec.name not in states and _STATE.search(spec.name) and (spec.dtype, spec.shape) in made
    ]


class Repository:
    """The models by name. sources: what each was named as at the start: a file, or a model that is in memory. folder:
    where their sessions are on disk, if they are. loads: have them loaded now; else `loading` has the names of those
    that are yet to be put here, and requests for them are told to come again.

    lock: held by who loads or unloads one while requests come. changed: called with a model that is not the newest any
    more, and with the one instead of it, None where it is unloaded.

    Raises what `fastgru.load` does for a file that cannot be served.
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
        """The model of this name. Raises `ServeError`, 404, where it is not loaded, 503 while it is loading."""
        served = self._served.get(name)
        if served is None and name in self.loading:
            raise ServeError(503, f"model {name!r} is being loaded", reason="loading", retry_after_s=_RETRY_S)
        if served is None or version not in (None, VERSION):
            what = f"model {name!r:.160}" + (f", version {version!r:.40}," if version is not None else "")
            here = f"the loaded models are {', '.join(self._served)}" if self._served else "no model is loaded"
            raise ServeError(404, f"{what} is not loaded; {here}", reason="model")
        return served

    def index(self) -> list[tuple[str, str, str, str]]:
        """(name, version, state, why it is in that state) of every model that was named at the start.

        The states are Triton's: "LOADING", "READY", "UNLOADING" and "UNAVAILABLE". A model that was loaded anew while
        sessions go on with it stands there beside the new one, and is unloading.
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
        """The model of this name, read anew; it is not served yet. On any thread.

        Raises `ServeError`, 404, for other names, and what `fastgru.load` does.
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
        """Read the model of this name anew, and serve it instead of the one before, whose sessions go on with that."""
        return self.put(self.read(name))

    def put(self, served: Served) -> Served:
        """Serve this one instead of the one before, whose sessions go on with that. Raises `SettingsError`."""
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
        """Take no requests for it from now on, and end its sessions, but for those that have requests on their way.

        `finish` is to be called for what this returns until it says that all is done. Raises `ServeError`, 404, where
        it is not loaded.
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
        """End those of its sessions that have no requests any more; whether nothing is left to be done."""
        if self._unloading.get(served.name) is not served:
            return True
        for session in served.sessions or ():
            if session.forget is not None:
                session.forget(session)  # steps that wait for others, which do not come any more
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
        """End sessions that are idle for too long, and let models go that nobody uses.

        In how many seconds to come again.
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
