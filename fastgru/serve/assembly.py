"""The parts of a server, put together: models, one scheduler, the protocols over both, and who may ask."""

import sys
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from fastgru.model import Model
from fastgru.serve.app import Application
from fastgru.serve.models import Repository
from fastgru.serve.scheduler import Scheduler
from fastgru.serve.settings import NAME, Settings, SettingsError, named_models
from fastgru.serve.v2.routes import Protocol

__all__ = ["Assembly", "Models"]

Models = str | Path | Mapping[str, str | Path | Model] | Iterable[str | Path]

_SWITCH_S: Final = 0.0005  # for how long Python code of a thread may keep another one waiting


class Assembly:
    """models: files, whose names are those of their models, or {name: file or model}. settings: their own `models` come
    besides these.

    app: the ASGI application; the server around it has to support lifespans. is_ready: it takes requests.

    Raises what `fastgru.load` does for files that cannot be served, `SettingsError` for names that cannot be.
    """

    def __init__(self, models: Models, settings: Settings) -> None:
        self.settings, self.is_ready = settings, False
        self.repository = Repository(_named(models, settings), settings)
        self.scheduler = Scheduler(max_bytes=settings.max_in_flight_bytes)
        protocol = Protocol(self.repository, self.scheduler, settings, lambda: self.is_ready)
        self.app = Application(protocol.routes(), {}, body_limit=settings.max_body_bytes, lifespan=self._live)

    @asynccontextmanager
    async def _live(self) -> AsyncIterator[None]:
        self.scheduler.start(self.repository)
        self.is_ready = True
        try:
            yield
        finally:
            await self.drain(self.settings.drain_seconds)

    async def drain(self, grace_s: float) -> None:
        """Take no new requests, and answer those that there are, at most for so long."""
        self.is_ready = False
        await self.scheduler.drain(grace_s)

    def run(self, started: Callable[[Any], None] | None = None) -> None:
        """Serve until SIGTERM or SIGINT. started: called with the `Server` when the first request can come."""
        from fastgru.serve.server import Server

        sys.setswitchinterval(_SWITCH_S)
        Server(self.app, self.settings, drain=self.drain).run(started)


def _named(models: Models, settings: Settings) -> dict[str, str | Path | Model]:
    if isinstance(models, Mapping):
        given = dict(models)
        if bad := [name for name in given if not (isinstance(name, str) and NAME.fullmatch(name))]:
            raise SettingsError(f"{bad[0]!r} cannot be the name of a model, which has letters of ASCII, digits and ._-")
    else:
        texts = [models] if isinstance(models, str | Path) else models
        given = dict(named_models([str(text) for text in texts]))
    return given | named_models(settings.models)
