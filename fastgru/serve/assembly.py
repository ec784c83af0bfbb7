"""The parts of a server, put together: models, one scheduler, the protocols over both, and the check of API keys."""

import asyncio
import gc
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from fastgru import __version__
from fastgru.kernels.table import compiled_by_this_process
from fastgru.layers import Layer
from fastgru.model import Model
from fastgru.serve import swap
from fastgru.serve.app import Answer, Application, Receive, Request, Scope, Send
from fastgru.serve.durable.folder import Folder
from fastgru.serve.gate import Gate
from fastgru.serve.keys import Guard
from fastgru.serve.log import event
from fastgru.serve.metrics import CONTENT_TYPE, Metrics
from fastgru.serve.origin import Cors
from fastgru.serve.page.files import file_routes
from fastgru.serve.page.overview import Overview
from fastgru.serve.repository import Repository
from fastgru.serve.resident import give_back_code
from fastgru.serve.scheduler import Scheduler
from fastgru.serve.settings import NAME, Settings, SettingsError, named_models
from fastgru.serve.stream import Streams
from fastgru.serve.v2.routes import Protocol
from fastgru.simd.cache import describe
from fastgru.simd.notices import told_by
from fastgru.simd.target import TARGET

__all__ = ["Asgi", "Assembly", "Models"]

Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]
Models = str | Path | Mapping[str, str | Path | Model | Layer] | Iterable[str | Path]

_SWITCH_S: Final = 0.0005  # for how long a thread that runs Python code may keep another thread waiting


class Assembly:
    """All parts of one server.

    models: files, which give their models their names, or {name: file, model or layer}. settings: `settings.models` are
    served in addition. loads: load the models now; if False, `run` loads them once it listens. app: the ASGI
    application; the ASGI server must support lifespans. is_ready: whether the server takes requests.

    Raises what `fastgru.load` raises for files that cannot be served, and `SettingsError` for impossible names.
    """

    def __init__(self, models: Models, settings: Settings, *, loads: bool = True) -> None:
        self.settings, self.is_ready = settings, False
        self.gate, self._guard = Gate(settings), Guard(settings)
        self._folder = None if settings.state_dir is None else Folder(settings)
        try:
            self.repository = Repository(_named(models, settings), settings, folder=self._folder, loads=loads)
        except BaseException:
            self.close()
            raise
        self.scheduler = Scheduler(max_bytes=settings.max_in_flight_bytes)
        self.streams = Streams(self.repository, self.scheduler, settings)
        protocol = Protocol(self.repository, self.scheduler, settings, lambda: self.is_ready)
        self._metrics = Metrics(self.repository, self.scheduler, self.gate)
        overview = Overview(self.repository, self.scheduler, self.gate, lambda: self.is_ready)
        app = Application(
            {
                **protocol.routes(),
                **file_routes(),
                "GET /metrics": self._show_metrics,
                "GET /v2/overview": overview.show,
            },
            self.streams.sockets(),
            authorize=self._guard,
            body_limit=settings.max_body_bytes,
            lifespan=self._live,
            refused=self.gate.refuse,
        )
        self.app: Asgi = Cors(app, settings) if settings.allow_origin else app

    async def _show_metrics(self, request: Request) -> Answer:
        text = self._metrics.text()
        return Answer(200, [(b"content-type", CONTENT_TYPE), (b"content-length", b"%d" % len(text))], text)

    @asynccontextmanager
    async def _live(self) -> AsyncIterator[None]:
        self.scheduler.start(self.repository)
        self.is_ready = not self.repository.loading
        try:
            yield
        finally:
            await self.drain(self.settings.drain_seconds)
            self.close()

    async def _prepare(self) -> None:
        """Load the models, if they are not loaded yet."""
        cache, before = describe(), len(compiled_by_this_process())
        texts: list[str] = []

        def tell(text: str) -> None:
            if not texts:
                event("compile", text.partition(": ")[0])  # without the count
            texts.append(text)

        with told_by(tell):  # otherwise the notices would be printed outside the log
            await swap.start(self.repository)
        if made := len(compiled_by_this_process()) - before:
            event("compile", f"{made} kernels were compiled for this CPU", kernels=made, problem=cache["problem"])
        gc.collect()
        gc.freeze()  # a full collection that visits the models would stop all streams for 20 ms
        give_back_code()
        self.is_ready = True

    def _leave(self) -> None:
        self.is_ready = False

    def _reload(self) -> frozenset[str]:
        """Read the file of keys again, end the streams of removed or changed keys, and return the names of these."""
        gone = self._guard.reload()
        self.streams.expel(gone)
        return gone

    def close(self) -> None:
        """Write all states to disk, and release the folder."""
        if self._folder is not None:
            self._folder.close()

    async def drain(self, grace_s: float) -> None:
        """Take no new requests, and wait at most `grace_s` seconds until the accepted ones are answered."""
        self.is_ready = False
        if self._folder is not None:
            self._folder.drain()
        await self.streams.drain(grace_s / 2)
        await self.scheduler.drain(grace_s / 2)

    def run(self, started: Callable[[Any], None] | None = None) -> None:
        """Serve until SIGTERM or SIGINT. started: called with the `Server` once it takes requests."""
        from fastgru.serve.handshake import Handshake
        from fastgru.serve.server import Server

        def begun(server: Server) -> None:
            event("start", f"serving {self._described()} at {', '.join(server.urls)}", urls=server.urls)
            if started is not None:
                started(server)

        sys.setswitchinterval(_SWITCH_S)
        try:
            Server(
                self.app,
                self.settings,
                websocket=Handshake,
                gate=self.gate,
                drain=self.drain,
                grpc=self._grpc(),
                prepare=self._prepare,
                leave=self._leave,
                reload=self._reload,
            ).run(begun)
        finally:
            self.close()
            gc.unfreeze()
        event("stop", "the server has ended")

    def _grpc(self) -> Callable[[set[Any]], asyncio.Protocol] | None:
        """Return a function that makes gRPC connections, or None if gRPC is off."""
        settings = self.settings
        if not settings.port_of_grpc:
            return None
        from fastgru.serve.grpc.connection import GrpcConnection
        from fastgru.serve.grpc.heads import Heads
        from fastgru.serve.grpc.service import Service

        service = Service(self.repository, self.scheduler, settings, lambda: self.is_ready)

        def heads() -> Heads:
            return Heads(
                service.find,
                self._guard,
                max_bytes=settings.max_header_bytes,
                max_headers=settings.max_headers,
            )

        return lambda connections: GrpcConnection(heads, self.gate, connections)

    def _described(self) -> str:
        models = [f"{served.name} ({served.model.precision})" for served in self.repository]
        return (
            f"{', '.join(models)}, up to {self.settings.capacity:,} sessions each, for {TARGET.short},"
            f" fastgru {__version__},"
        )


def _named(models: Models, settings: Settings) -> dict[str, str | Path | Model]:
    given: dict[str, str | Path | Model]
    if isinstance(models, Mapping):
        given = {
            name: m.to_model(initial_state=not m.needs_last_frame()) if isinstance(m, Layer) else m
            for name, m in models.items()
        }
        if bad := [name for name in given if not (isinstance(name, str) and NAME.fullmatch(name))]:
            raise SettingsError(f"{bad[0]!r} cannot be the name of a model: use ASCII letters, digits and ._-")
    else:
        texts = [models] if isinstance(models, str | Path) else models
        given = dict(named_models([str(text) for text in texts]))
    files = named_models(settings.models)
    if twice := [name for name in given if name in files]:
        raise SettingsError(
            f"{twice[0]}: two models have this name, one of them in the settings: give each a name of its own"
        )
    in_memory = [name for name, model in given.items() if isinstance(model, Model)]
    options = [f"{name}=" for name, value in settings.reading.items() if value != getattr(Settings, name)]
    if in_memory and options:
        raise SettingsError(
            f"{', '.join(options)} cannot apply to {', '.join(in_memory)}, which is in memory, because these options"
            " are for files; give them to fastgru.load, or name a file"
        )
    return given | files
