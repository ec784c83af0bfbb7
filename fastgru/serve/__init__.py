"""The server: streams over HTTP and WebSocket, every session its own."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fastgru.serve.settings import Settings

if TYPE_CHECKING:
    from fastgru.serve.assembly import Asgi, Models

__all__ = ["Settings", "application", "run"]


def run(
    models: "Models" = (),
    *,
    settings: Settings | None = None,
    started: Callable[[Any], None] | None = None,
    **options: Any,
) -> None:
    """Serve these models until SIGTERM or SIGINT.

    models: a file or several, whose names are those of their models, or {name: file or model}. settings, options: what
    `Settings` takes; options go before settings. started: called with the server when the first request can come.

    Raises what `fastgru.load` does, and `SettingsError` for settings that cannot be.
    """
    from fastgru.serve.assembly import Assembly

    Assembly(models, _settings(settings, options)).run(started)


def application(models: "Models" = (), *, settings: Settings | None = None, **options: Any) -> "Asgi":
    """The same as an ASGI application, for a server that supports lifespans; sockets and TLS are that one's."""
    from fastgru.serve.assembly import Assembly

    return Assembly(models, _settings(settings, options)).app


def _settings(settings: Settings | None, options: dict[str, Any]) -> Settings:
    from dataclasses import replace

    return Settings(**options) if settings is None else replace(settings, **options)
