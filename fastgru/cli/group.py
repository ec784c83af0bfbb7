"""The group of commands: loads a command's module on demand, and turns our errors into one line and status 2."""

import importlib
import warnings
from collections.abc import Mapping
from typing import Any, Final

import click

from fastgru import __version__
from fastgru.errors import FastGRUError

__all__ = ["COMMANDS", "main"]

# name -> its line in `fastgru --help`, so that listing the commands imports none of them.
COMMANDS: Final[Mapping[str, str]] = {
    "bench": "How fast: beside onnxruntime, openvino and torch, and beside the machine's limit.",
    "build": "Build kernels for other CPUs and systems, into a folder.",
    "convert": "Save a model of any format as one .safetensors or .onnx file.",
    "demo": "Run the model that comes with the package: text, and its speed.",
    "doctor": "The CPU, the kernels chosen for it, the cache, the versions.",
    "inspect": "What is in a file: layers, shapes, conventions, what is not supported.",
    "quantize": "Weights in int8 or bfloat16: what they cost and save, layer by layer.",
    "run": "Run a model on arrays from .npy, .npz or .csv files.",
    "score": "Run a model over every sequence of a data set.",
    "serve": "Serve models over HTTP and WebSocket, every client with its own state.",
    "verify": "Compare a model with its float64 definition and its own framework.",
    "warmup": "Compile and cache the kernels, so that later processes compile nothing.",
}


class _Group(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return importlib.import_module(f"fastgru.cli.{cmd_name}").command if cmd_name in COMMANDS else None

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
            click.echo(f"fastgru: error: {one_line(error)}", err=True)
            ctx.exit(2)


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    click.echo(f"fastgru: warning: {' '.join(str(message).split())}", err=True)


def one_line(error: BaseException) -> str:
    """The message without line breaks; of an `OSError` the reason and the file."""
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return " ".join(str(error).split()) or type(error).__name__


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.version_option(__version__, message="fastgru %(version)s", help="The version.")
def main(debug: bool) -> None:
    """Trained GRU models on this CPU: look into a file, run it, check it.

    Exit status: 0 done, 1 a check does not hold (verify, demo) or the model is not supported (inspect), 2 an error.
    """
