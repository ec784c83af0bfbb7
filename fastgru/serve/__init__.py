"""The server: streams over HTTP, WebSocket and gRPC, with a state for each session."""

from collections.abc import Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

from fastgru.errors import FastGRUError
from fastgru.serve.settings import Settings, SettingsError

if TYPE_CHECKING:
    from fastgru.serve.assembly import Asgi, Assembly, Models

__all__ = ["Settings", "application", "check_installed", "run"]

_NEEDED: Final = ("uvicorn", "httptools", "websockets", "orjson", "prometheus_client", "hpack")


def run(
    models: "Models" = (),
    *,
    settings: Settings | None = None,
    started: Callable[[Any], None] | None = None,
    **options: Any,
) -> None:
    """Serve models until SIGTERM or SIGINT.

    models: the path of a file, or a list of paths, whose names become the names of the models; or a dict
        {name: path, model or layer}.
    settings, options: a `Settings` object, or its fields by keyword. Options take precedence over settings.
    started: a function that is called with the server as soon as it accepts requests.

    Raises what `fastgru.load` raises, and `SettingsError` for impossible settings, such as options for reading a file
    when the model is already in memory.
    """
    _assembly(models, settings, options, loads=False).run(started)


def application(models: "Models" = (), *, settings: Settings | None = None, **options: Any) -> "Asgi":
    """Return the server as an ASGI application, for an ASGI server that supports lifespans.

    The ASGI server owns the sockets and TLS. The arguments and errors are those of `run`.
    """
    return _assembly(models, settings, options).app


def check_installed() -> None:
    """Raise `FastGRUError`, naming the packages of the extra `serve` that are not installed."""
    if missing := [name for name in _NEEDED if find_spec(name) is None]:
        raise FastGRUError(
            f"the server needs packages that are not installed ({', '.join(missing)}): install fastgru with its extra"
            " serve, in a clone by pip install '.[serve]'"
        )


def _assembly(
    models: "Models", settings: Settings | None, options: dict[str, Any], *, loads: bool = True
) -> "Assembly":
    check_installed()
    from dataclasses import replace

    from fastgru.serve.assembly import Assembly

    if unknown := options.keys() - Settings.__dataclass_fields__.keys():
        raise SettingsError(
            f"no option is called {', '.join(sorted(unknown))}; the options are"
            f" {', '.join(Settings.__dataclass_fields__)}"
        )
    return Assembly(models, Settings(**options) if settings is None else replace(settings, **options), loads=loads)
