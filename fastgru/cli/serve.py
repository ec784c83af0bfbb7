"""`fastgru serve`: serves models over HTTP, gRPC and WebSocket. Its options are the fields of `Settings`."""

import os
import sys
from collections.abc import Callable
from dataclasses import Field
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from fastgru.cli.options import telling_of_flags
from fastgru.serve import check_installed
from fastgru.serve.settings import Settings, SettingsError
from fastgru.serve.settings_file import read_settings, read_value
from fastgru.terminal import bytes_of

__all__ = ["command"]

F = TypeVar("F", bound=Callable[..., Any])

_METAVARS: Final = {"seconds": "SECONDS", "bytes": "BYTES"}


def _options(function: F) -> F:
    """Add an option for each field except `models`. An option that is not given is None or empty."""
    decorated: Any = function
    for field in reversed(list(Settings.__dataclass_fields__.values())):
        if field.name != "models":
            decorated = _option(field)(decorated)
    return decorated  # type: ignore[no-any-return]


def _option(field: "Field[Any]") -> Callable[[F], F]:
    flag, unit = f"--{field.name.replace('_', '-')}", field.metadata["unit"]
    default: Any = field.default
    text = field.metadata["doc"]
    if field.type is bool:
        return click.option(flag, is_flag=True, default=None, help=text)
    if default not in (None, ()):
        shown = bytes_of(default).replace(".0", "") if unit == "bytes" else f"{default:g}" if unit else default
        text += f"  [default: {shown}]"
    if field.type == tuple[str, ...]:
        metavar = field.metadata.get("metavar", "URL")
        return click.option(flag, multiple=True, metavar=metavar, help=f"{text} Repeatable.")
    if "choices" in field.metadata:
        return click.option(flag, type=click.Choice([*map(str, field.metadata["choices"])]), help=text)
    kind = "PATH" if field.type == Path | None else "N" if field.type in (int, int | None) else "TEXT"
    return click.option(flag, metavar=_METAVARS.get(unit, kind), help=text)


@click.command("serve")
@click.argument("models", nargs=-1, metavar="[NAME=]MODEL...")
@click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A YAML file with these options and the models: state_dir stands for --state-dir. Options on the command line"
    " override the file.",
)
@_options
def command(models: tuple[str, ...], config: Path | None, **options: Any) -> None:
    """Serve models over HTTP (the Open Inference Protocol), gRPC and WebSocket, and keep the state of each client.

    A MODEL is any file that fastgru loads. Its name in URLs is NAME, or the name of the file without its suffix. The
    options that say how to read a file apply to every MODEL; in a file for --config, each model may have its own. On
    SIGTERM or Ctrl-C, the server answers the requests that it has accepted and then exits.

    The command needs the extra `serve`: in a clone, pip install ".[serve]".
    """
    check_installed()
    given = {name: read_value(name, value) for name, value in options.items() if value not in (None, ())}
    if models:
        given["models"] = models
    try:
        settings = Settings(**given) if config is None else read_settings(config, **given)
    except SettingsError as error:
        raise SettingsError(error.as_flags) from None
    if not settings.models:
        raise click.UsageError("there is no model to serve: give the file of one, or name models in --config")
    from fastgru.serve.assembly import Assembly
    from fastgru.serve.log import set_up

    set_up(settings.log_format)
    if settings.log_format == "json":
        os.environ.setdefault("FASTGRU_QUIET", "1")  # the log reports compilations
    with telling_of_flags():
        Assembly((), settings, loads=False).run()
    sys.stderr.flush()
