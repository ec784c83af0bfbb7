"""The process around the application: sockets, TLS, signals, and a shutdown that loses no request."""

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable, Collection
from functools import partial
from socket import AF_INET, AF_INET6, socket
from typing import Any, Final

from uvicorn.config import Config
from uvicorn.lifespan.on import LifespanOn
from uvicorn.server import ServerState

from fastgru.serve.gate import Gate
from fastgru.serve.grpc.connection import GrpcConnection
from fastgru.serve.http import HttpProtocol
from fastgru.serve.listening import close_all, listen, listen_for_grpc, urls_of
from fastgru.serve.log import event
from fastgru.serve.settings import Settings, SettingsError
from fastgru.serve.system import allow_files, loop_factory, signals

__all__ = ["Server"]

_SPEAKERS: Final = (HttpProtocol, GrpcConnection)
_POLL_SECONDS: Final = 0.01
_PING_SECONDS: Final = 20.0


class Server:
    """One application on the sockets of the settings.

    gate: shared by all connections. grpc: makes a gRPC connection, given the set of the server's connections. urls: the
    addresses of the server, once it listens. prepare: awaited before `started`, when connections are already accepted.
    leave: called when the server is about to shut down. drain: called when it shuts down, with the seconds that it has;
    when it returns, all requests have been computed. reload: called at SIGHUP; returns the names of removed and changed
    keys. If there are any, all clients have to connect again.
    """

    def __init__(
        self,
        app: Callable[..., Awaitable[None]],
        settings: Settings,
        *,
        websocket: type[Any] | None = None,
        drain: Callable[[float], Awaitable[None]] | None = None,
        gate: Gate | None = None,
        grpc: Callable[[set[Any]], asyncio.Protocol] | None = None,
        prepare: Callable[[], Awaitable[None]] | None = None,
        leave: Callable[[], None] | None = None,
        reload: Callable[[], Collection[str]] | None = None,
    ) -> None:
        self._prepare, self._leave, self._reload = prepare, leave, reload
        self._secured: list[ssl.SSLContext] = []
        self.settings, self.gate, self.urls = settings, gate or Gate(settings), list[str]()
        self._drain, self._app = drain, app
        self._grpc = grpc
        self._websocket, self._state = websocket, ServerState()
        self._stops = 0
        self._stopped: asyncio.Event | None = None

    def run(self, started: Callable[["Server"], None] | None = None) -> None:
        """Serve until SIGTERM or SIGINT, then finish the requests in progress; a second signal ends the server at once.

        started: called with the server once it takes requests. Raises `SettingsError` if it cannot listen or start.
        """
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            runner.run(self.serve(started))

    def stop(self) -> None:
        """Shut down; called on the thread of the event loop. A second call does so without waiting for requests."""
        self._stops += 1
        if self._stopped is not None:
            self._stopped.set()

    async def serve(self, started: Callable[["Server"], None] | None = None) -> None:
        """Do what `run` does, within a running loop."""
        self._stopped = asyncio.Event()
        config = self._config()
        allow_files()
        sockets = listen(self.settings)
        for_grpc: list[socket] = []
        lifespan = LifespanOn(config)
        try:
            for_grpc = listen_for_grpc(self.settings) if self._grpc is not None else []
            self.urls = urls_of(sockets, "https" if config.ssl else "http")
            self.urls += urls_of(for_grpc, "grpcs" if config.ssl else "grpc")
            await lifespan.startup()
            if lifespan.should_exit:
                raise SettingsError("the server could not start; its log has the cause")
            self.gate.start()
            http = partial(
                config.http_protocol_class, config=config, server_state=self._state, app_state=lifespan.state
            )
            servers = [await self._listen(sock, http, config.ssl) for sock in sockets]
            secured: ssl.SSLContext | None = None
            if self._grpc is not None and for_grpc:
                if (secured := self._config().ssl) is not None:
                    secured.set_alpn_protocols(["h2"])
                speaker = partial(self._grpc, self._state.connections)
                servers += [await self._listen(sock, speaker, secured) for sock in for_grpc]
            self._secured = [context for context in (config.ssl, secured) if context is not None]
            with signals(self.stop, self.reload):
                try:
                    if await self._prepared():
                        if started is not None:
                            started(self)
                        await self._stopped.wait()
                        await self._wait_for_others()
                finally:
                    await self._finish(servers)
                    await lifespan.shutdown()
        finally:
            self.gate.stop()
            close_all(for_grpc)
            close_all(sockets, self.settings.unix)

    async def _prepared(self) -> bool:
        """Await `prepare`, and return whether it ended before the server was stopped. Raises what `prepare` raises."""
        assert self._stopped is not None
        if self._prepare is None:
            return True
        preparing, stopped = asyncio.ensure_future(self._prepare()), asyncio.ensure_future(self._stopped.wait())
        await asyncio.wait((preparing, stopped), return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if not preparing.done():
            preparing.cancel()
            return False
        preparing.result()
        return True

    async def _wait_for_others(self) -> None:
        """Go on serving for a while, so that load balancers learn that the server is not ready any more."""
        delay, loop = self.settings.drain_delay_seconds, asyncio.get_running_loop()
        if self._leave is not None:
            self._leave()
        if delay and self._stops < 2:
            event("leave", f"not ready any more, and serving for another {delay:g} s", seconds=delay)
        until = loop.time() + delay
        while loop.time() < until and self._stops < 2:
            await asyncio.sleep(_POLL_SECONDS)

    def reload(self) -> None:
        """Read certificates and keys again. If they cannot be used, log that and keep the old ones."""
        try:
            self._config()
            for context in self._secured:
                context.load_cert_chain(str(self.settings.tls_cert), str(self.settings.tls_key))
            gone = () if self._reload is None else self._reload()
        except (SettingsError, OSError) as error:
            event("reload", f"nothing is read again: {error}", level=logging.ERROR)
            return
        event("reload", "certificates and keys are read again")
        for connection in [each for each in self._state.connections if gone and isinstance(each, _SPEAKERS)]:
            if isinstance(connection, GrpcConnection):
                connection.expel(gone)
            else:
                connection.shutdown()

    def _config(self) -> Config:
        settings = self.settings
        config = Config(
            self._app,
            http=partial(HttpProtocol, gate=self.gate),
            ws=self._websocket if self._websocket is not None else "none",
            ws_max_size=settings.max_message_bytes,
            ws_ping_interval=_PING_SECONDS,
            ws_ping_timeout=_PING_SECONDS,
            ws_per_message_deflate=False,
            lifespan="on",
            interface="asgi3",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            ssl_certfile=settings.tls_cert,
            ssl_keyfile=settings.tls_key,
            ssl_ca_certs=None if settings.tls_client_ca is None else str(settings.tls_client_ca),
            ssl_cert_reqs=ssl.CERT_NONE if settings.tls_client_ca is None else ssl.CERT_REQUIRED,
        )
        try:
            config.load()
        except (OSError, ssl.SSLError) as error:
            files = ", ".join(
                str(path) for path in (settings.tls_cert, settings.tls_key, settings.tls_client_ca) if path
            )
            raise SettingsError(f"TLS cannot be set up from {files}: {error}") from None
        return config

    async def _listen(
        self, sock: socket, protocol: Callable[[], asyncio.Protocol], secured: ssl.SSLContext | None
    ) -> asyncio.Server:
        loop: Any = asyncio.get_running_loop()
        create = loop.create_server if sock.family in (AF_INET, AF_INET6) else loop.create_unix_server
        more = {} if secured is None else {"ssl_handshake_timeout": self.settings.deadline_seconds}
        server: asyncio.Server = await create(protocol, sock=sock, ssl=secured, **more)
        return server

    async def _finish(self, servers: list[asyncio.Server]) -> None:
        """Accept no new connections, answer the requests in progress, and close; at most for `drain_seconds`."""
        grace = self.settings.drain_seconds
        if self._stops:  # else it has not started, and the error says why
            event("drain", f"no new connections; accepted requests will be answered within {grace:g} s", seconds=grace)
        loop, connections = asyncio.get_running_loop(), self._state.connections
        until = loop.time() + grace
        for server in servers:
            server.close()
        drained = None if self._drain is None else loop.create_task(self._wait(self._drain, grace))
        for connection in [each for each in connections if isinstance(each, _SPEAKERS)]:
            connection.shutdown()
        while drained is not None and not drained.done() and self._stops < 2:
            await asyncio.sleep(_POLL_SECONDS)
        for connection in list(connections):
            connection.shutdown()
        while (connections or self._state.tasks) and loop.time() < until and self._stops < 2:
            await asyncio.sleep(_POLL_SECONDS)
        for connection in list(connections):
            getattr(connection, "transport", connection).abort()
        for task in list(self._state.tasks):
            task.cancel()
        await asyncio.sleep(0)

    @staticmethod
    async def _wait(drain: Callable[[float], Awaitable[None]], seconds: float) -> None:
        try:
            await asyncio.wait_for(drain(seconds), seconds)
        except TimeoutError:
            pass
