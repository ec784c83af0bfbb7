"""`fastgru bench --serve URL`: its options, and the load that they describe."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from fastgru.errors import FastGRUError
from fastgru.records import dataclass
from fastgru.terminal import progress

if TYPE_CHECKING:
    from fastgru.bench.serving.demand import Ramp
    from fastgru.bench.serving.result import ServingResult
    from fastgru.bench.serving.target import Target

__all__ = ["Serving", "serving_options"]

F = TypeVar("F", bound=Callable[..., Any])

_FILE: Final = click.Path(exists=True, dir_okay=False, path_type=Path)
_ABOVE_0: Final = click.FloatRange(min=0, min_open=True)
_COUNT: Final = click.IntRange(min=1)
# Options of the command that may also be given with --serve.
_COMMON: Final = {"serve", "json_path", "html_path", "shapes"}


def _ramp(_: click.Context, parameter: click.Parameter, text: str | None) -> Ramp | None:
    if text is None:
        return None
    from fastgru.bench.serving.demand import Ramp

    try:
        first, last, steps = text.split(":")
        ramp = Ramp(float(first), float(last), int(steps))
    except ValueError:
        ramp = Ramp(0, 0, 0)
    if not (0 < ramp.first < ramp.last < 1e9 and 2 <= ramp.steps <= 1000):
        raise click.BadParameter(
            f"{text!r}: expected FROM:TO:STEPS with FROM below TO, as in 100:2000:5", param=parameter
        )
    return ramp


_OPTIONS: Final = (
    click.option("--serve", metavar="URL", help="Measure a server: http://HOST:PORT, https://HOST:PORT or unix:PATH."),
    click.option("--model", "served", metavar="NAME", help="The model on the server.  [default: its only one]"),
    click.option(
        "--protocol",
        type=click.Choice(["binary", "json", "websocket", "grpc"]),
        help="How requests are sent: V2 with tensors as bytes, V2 as JSON, one WebSocket for each session, or one gRPC"
        " stream for each connection.  [default: binary if the server supports it, otherwise json]",
    ),
    click.option("--grpc-port", type=click.IntRange(1, 65535), default=8001, show_default=True, help="The gRPC port."),
    click.option(
        "--connections",
        type=_COUNT,
        default=16,
        show_default=True,
        help="How many connections to open; not with --sessions.",
    ),
    click.option("--rate", type=_ABOVE_0, help="Send this many requests a second, whether or not they are answered."),
    click.option(
        "--arrivals",
        type=click.Choice(["poisson", "constant"]),
        default="poisson",
        show_default=True,
        help="With --rate and --ramp: send at random times, as independent clients do, or at equal intervals.",
    ),
    click.option(
        "--sessions", type=_COUNT, help="How many sessions to run in real time, each on a connection of its own."
    ),
    click.option("--frame-rate", type=_ABOVE_0, help="How many frames a second each session sends."),
    click.option(
        "--ramp",
        callback=_ramp,
        metavar="FROM:TO:STEPS",
        help="Find the highest rate that the server can sustain, or with --frame-rate the largest number of sessions.",
    ),
    click.option(
        "--seconds",
        type=_ABOVE_0,
        default=10.0,
        show_default=True,
        help="How long to run, or how long each step of a ramp takes.",
    ),
    click.option(
        "--warm-up",
        type=click.FloatRange(min=0),
        default=1.0,
        show_default=True,
        help="How many seconds of load precede the measurement.",
    ),
    click.option(
        "--late-ms", type=_ABOVE_0, default=10.0, show_default=True, help="Answers that take longer count as late."
    ),
    click.option("--chunk", type=_COUNT, default=1, show_default=True, help="How many steps a frame holds."),
    click.option(
        "--stateless", is_flag=True, help="Send requests that belong to no sequence, over whichever connection is free."
    ),
    click.option("--timeout-ms", type=_ABOVE_0, help="Ask the server to answer within this time or to refuse."),
    click.option("--floor", is_flag=True, help="Also measure a raw TCP echo on this machine under the same load."),
    click.option(
        "--unix", type=click.Path(path_type=Path), help="Connect to this Unix socket instead of the URL's host."
    ),
    click.option(
        "--api-key",
        metavar="KEY",
        help="The API key. Others on this machine can see it on the command line; --api-key-file hides it.",
    ),
    click.option("--api-key-file", type=_FILE, help="The file that holds the API key."),
    click.option(
        "--tls-ca",
        type=_FILE,
        help="The authorities that may have signed the server's certificate, as a PEM file."
        "  [default: those of the system]",
    ),
    click.option("--tls-cert", type=_FILE, help="The client's certificate, as a PEM file."),
    click.option("--tls-key", type=_FILE, help="The private key of the client's certificate, as a PEM file."),
)


@dataclass(frozen=True)
class Serving:
    """The options of `serving_options`, by name."""

    given: dict[str, Any]

    def measure(self, shapes: tuple[str, ...]) -> ServingResult:
        """Run the load. Raises `FastGRUError` for options that contradict each other, and if the server fails."""
        from fastgru.bench.serving.demand import Demand
        from fastgru.bench.serving.inputs import parse_shapes
        from fastgru.bench.serving.measure import measure_serving, protocol_of
        from fastgru.bench.serving.server import find_server

        given = self.given
        demand = Demand(**{name: given[name] for name in Demand.__dataclass_fields__})
        server = find_server(self._target(), given["serve"], given["served"])
        with progress() as tell, _interrupts() as stop:
            return measure_serving(
                server,
                demand,
                protocol=protocol_of(server, given["protocol"]),
                grpc_port=given["grpc_port"],
                given=parse_shapes(shapes, server.inputs),
                stop=stop,
                progress=tell,
            )

    def _target(self) -> Target:
        from fastgru.bench.serving.target import Target, client_context

        given, key = self.given, self.given["api_key"]
        if given["api_key_file"] is not None:
            if key is not None:
                raise FastGRUError("--api-key and --api-key-file both give the key: give only one of them")
            key = given["api_key_file"].read_text(encoding="utf-8").strip()
        if key is not None and not (key.isascii() and key.isprintable() and key and " " not in key):
            raise FastGRUError("the API key is not one word of printable ASCII")
        tls = client_context(given["tls_ca"], given["tls_cert"], given["tls_key"])
        return Target.parse(given["serve"], unix=given["unix"], key=key, tls=tls)


def serving_options(function: F) -> F:
    """Add the options of a load as the parameter `serving`, which is None without --serve.

    Raises `click.UsageError` for an option of a load without --serve, and for most other options with it.
    """

    @wraps(function)
    def command(**chosen: Any) -> Any:
        context = click.get_current_context()
        names = [parameter.name for parameter in made if parameter.name]
        source = click.core.ParameterSource.COMMANDLINE
        said = {p.name: p for p in context.command.params if p.name and context.get_parameter_source(p.name) is source}
        load = {name: chosen.pop(name) for name in names}
        serving = Serving(load) if load["serve"] is not None else None
        for name, parameter in said.items():
            words = parameter.opts[0] if isinstance(parameter, click.Option) else "MODEL"
            if serving is None and name in names:
                raise click.UsageError(f"{words} is for --serve URL")
            if serving is not None and name not in {*names, *_COMMON}:
                raise click.UsageError(f"{words} is not for --serve: the server has its own models and settings")
        return function(serving=serving, **chosen)

    decorated: Any = command
    for option in reversed(_OPTIONS):
        decorated = option(decorated)
    made: list[click.Parameter] = list(decorated.__click_params__)
    return decorated  # type: ignore[no-any-return]


@contextmanager
def _interrupts() -> Iterator[Callable[[], bool]]:
    """Make Ctrl-C end the run and show the results so far. A second Ctrl-C ends the process at once."""
    stop = threading.Event()
    before = signal.getsignal(signal.SIGINT)

    def ask(*_: object) -> None:
        stop.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    signal.signal(signal.SIGINT, ask)
    try:
        yield stop.is_set
    finally:
        signal.signal(signal.SIGINT, before)
