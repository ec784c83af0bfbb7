"""The group of commands: imports the module of a command on demand, and reports errors and interruptions."""

import contextlib
import importlib
import itertools
import json
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import click

from fastgru import __version__
from fastgru.cli.formatter import Context
from fastgru.cli.nearby import near_files
from fastgru.errors import FastGRUError
from fastgru.nearest import nearest

__all__ = ["COMMANDS", "INTERRUPTED", "main"]

# name -> its line in `fastgru --help`. Listing the commands imports none of them.
COMMANDS: Final[Mapping[str, str]] = {
    "adapt": "Adapt a model, or its last layers, to data on this CPU.",
    "bench": "Measure speed, next to other runtimes and to the limits of the CPU.",
    "build": "Build kernels for other CPUs and systems into a folder.",
    "convert": "Save any model as one .safetensors or .onnx file.",
    "demo": "Run the model that is part of the package: it writes text.",
    "doctor": "Show the CPU, the cache of kernels and all versions.",
    "inspect": "Show what a file contains and whether it can run.",
    "memory": "Show how much of the past a model uses.",
    "quantize": "Use int8 or bfloat16 weights and measure the error.",
    "run": "Run a model on arrays from .npy, .npz or .csv files.",
    "score": "Run a model over every sequence of a data set.",
    "serve": "Serve models over HTTP, WebSocket and gRPC.",
    "verify": "Compare a model with its definition and its framework.",
    "warmup": "Compile the kernels now, so that no later process has to.",
}
INTERRUPTED: Final = 130  # the status that shells report for a process ended by SIGINT
_WITHOUT_TABLES: Final = ("adapt", "build", "convert", "demo", "help", "serve", "warmup")


class _Failure(click.ClickException):
    """An error of fastgru or of the system: one line, status 2."""

    exit_code = 2

    def __init__(self, cause: BaseException) -> None:
        super().__init__(one_line(cause))
        self.kind = type(cause).__name__


class _Group(click.Group):
    context_class = Context

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in (*COMMANDS, "help"):
            return None
        command: click.Command = importlib.import_module(f"fastgru.cli.{cmd_name}").command
        command.context_class = Context
        present = {parameter.name for parameter in command.params}
        skipped = ("wide",) * (cmd_name in _WITHOUT_TABLES) + ("quiet",) * (cmd_name in ("help", "serve"))
        command.params += [option for option in _COMMON if option.name not in {*present, *skipped}]
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in (*COMMANDS, "help") and not name.startswith("-") and not ctx.resilient_parsing:
            if Path(name).exists():
                raise click.UsageError(f"No such command '{name}'. To look into the file: fastgru inspect {name}", ctx)
            close = nearest(name, COMMANDS)
            raise click.UsageError(f"No such command '{name}'." + "".join(f" Did you mean '{c}'?" for c in close), ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(sorted(COMMANDS.items()))

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with warnings.catch_warnings():
                warnings.showwarning = _show_warning
                return super().invoke(ctx)
        except (FastGRUError, OSError) as error:
            # click itself ends quietly when the reader of our output has gone.
            if ctx.params["debug"] or isinstance(error, BrokenPipeError):
                raise
            raise _Failure(error) from error

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """Run as click does, with our exit status after an interruption, and errors as JSON if JSON was requested."""
        if not standalone_mode:
            return super().main(args, prog_name, complete_var, False, **extra)
        for stream in (sys.stdout, sys.stderr):
            # A stream of a test has no `reconfigure`, and that of a closed stream raises.
            with contextlib.suppress(AttributeError, ValueError):
                stream.reconfigure(errors="replace")  # type: ignore[union-attr]
        words = list(sys.argv[1:] if args is None else args)
        try:
            status = super().main(args, prog_name, complete_var, False, **extra)
        except click.Abort:
            from fastgru.simd.notices import Progress

            Progress.said = True  # a thread that still compiles has nothing to add
            status = INTERRUPTED
            _tell(words, click.ClickException("interrupted"), "Interrupted", status)
        except click.ClickException as error:
            status = error.exit_code
            _tell(words, error, getattr(error, "kind", type(error).__name__), status)
        sys.exit(status if isinstance(status, int) else 0)


def _tell(words: Sequence[str], error: click.ClickException, kind: str, status: int) -> None:
    from fastgru.terminal import say

    if isinstance(error, getattr(click.exceptions, "NoArgsIsHelpError", ())):  # of click 8.2; its message is the help
        error.show()
        return
    if isinstance(error, click.NoSuchOption):
        error = _with_near_options(error)
    if wants_json(words):
        told = {"type": kind, "message": error.format_message(), "status": status}
        click.echo(json.dumps({"error": told}, indent=2))
        return
    if isinstance(error, click.UsageError) and error.ctx is not None:
        click.echo(f"{error.ctx.get_usage()}\nTry '{error.ctx.command_path} --help' for help.\n", err=True)
    head = "Error" if isinstance(error, click.UsageError) else "fastgru" if status == INTERRUPTED else "fastgru: error"
    say(f"{head}: {error.format_message()}", err=True)


def _with_near_options(error: click.NoSuchOption) -> click.UsageError:
    """Return the error with suggestions of similar options of the command."""
    message = f"No such option '{error.option_name}'."
    if error.ctx is not None and error.option_name.startswith("--"):
        params = error.ctx.command.get_params(error.ctx)
        known = [name[2:] for param in params for name in (*param.opts, *param.secondary_opts) if name[:2] == "--"]
        if close := [f"'--{name}'" for name in nearest(error.option_name[2:], known, most=2)]:
            message += f" Did you mean {' or '.join(close)}?"
    return click.UsageError(message, error.ctx)


def wants_json(words: Sequence[str]) -> bool:
    """Return True if standard output must be JSON: --json, or in bench, whose --json names a file, --json -."""
    given = list(words[: words.index("--")] if "--" in words else words)
    if "bench" in given:
        return "--json=-" in given or ("--json", "-") in itertools.pairwise(given)
    return "--json" in given


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    from fastgru.terminal import is_quiet, say

    if not is_quiet():
        say(f"fastgru: warning: {' '.join(str(message).split())}", err=True)


def one_line(error: BaseException) -> str:
    """Return the message without line breaks. An `OSError` gives the file, the reason, and files with similar names."""
    if isinstance(error, OSError) and error.filename is not None:
        near = near_files(Path(str(error.filename))) if isinstance(error, FileNotFoundError) else ""
        return f"{error.filename}: {error.strerror}{near}"
    return " ".join(str(error).split()) or type(error).__name__


def _asked(ctx: click.Context, parameter: click.Parameter, value: bool) -> bool:
    if value and parameter.name == "debug":
        ctx.find_root().params["debug"] = True
    elif value:
        from fastgru.terminal import printing

        ctx.with_resource(printing(**{str(parameter.name): True}))
    return value


_COMMON: Final = [
    click.Option(
        ["--wide"],
        is_flag=True,
        expose_value=False,
        callback=_asked,
        help="Show whole tables and names, however wide they are.",
    ),
    click.Option(
        ["-q", "--quiet"],
        is_flag=True,
        expose_value=False,
        callback=_asked,
        help="Print results and errors only: no progress, notes or warnings.",
    ),
    click.Option(
        ["--debug"], is_flag=True, expose_value=False, callback=_asked, help="Show the traceback of an error."
    ),
]


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.version_option(__version__, message="fastgru %(version)s", help="Show the version and exit.")
def main(debug: bool) -> None:
    """Run trained GRU models on this CPU.

    Start with `fastgru inspect FILE` to see what a file contains, or `fastgru demo` to see a model run.

    Exit status: 0 if the command succeeded, 1 if a check failed or a model is not supported, 2 if there was an error,
    130 if the command was interrupted.
    """
