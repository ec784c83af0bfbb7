"""Options that several commands share."""

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from fastgru.cli.nearby import ModelPath
from fastgru.errors import UnreadTensorsError
from fastgru.precisions import ASKED

__all__ = ["file_argument", "flags", "json_option", "load_options", "precision_option", "show", "telling_of_flags"]

F = TypeVar("F", bound=Callable[..., Any])

file_argument = click.argument("file", type=ModelPath())
json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
precision_option = click.option(
    "--precision",
    type=click.Choice(ASKED),
    help="The precision of the computation. bfloat16 and int8 store the weights in fewer bytes; the rest is computed in"
    " float32. auto stores each weight in bfloat16 if this CPU is no slower with it; auto-int8 also allows int8."
    "  [default: float32, or what a quantised file has]",
)
# The arguments of `fastgru.load` that are also options, in the order of the help: the type of the value, and the
# settings of the option for click.
_LOAD: Final[dict[str, tuple[Callable[[Any], object], dict[str, Any]]]] = {
    "key": (str, {"metavar": "PATH", "help": "For checkpoints: the dotted path of the dict of tensors to read."}),
    "architecture": (
        Path,
        {
            "type": click.Path(exists=True, dir_okay=False, path_type=Path),
            "help": "For files of weights alone: a YAML or JSON file that describes the network.",
        },
    ),
    "inputs": (
        list,
        {
            "multiple": True,
            "metavar": "NAME",
            "help": "Load a part of the model: make this tensor, or the output of this Keras layer, an input."
            " Repeatable.",
        },
    ),
    "outputs": (
        list,
        {
            "multiple": True,
            "metavar": "NAME",
            "help": "Load a part of the model: return this tensor, or the output of this Keras layer. Repeatable.",
        },
    ),
    "custom_objects": (
        Path,
        {
            "type": click.Path(exists=True, dir_okay=False, path_type=Path),
            "help": "For Keras: a file that defines layers of your own. A Python file is run and has to define the dict"
            " custom_objects; a YAML or JSON file holds descriptions by name.",
        },
    ),
    "fallback": (
        str,
        {
            "type": click.Choice(["reference"]),
            "help": "For ONNX: run nodes that fastgru does not implement with onnx's own reference implementation. It"
            " is slow, and allowed only where tests have shown that its results are right.",
        },
    ),
    "linear_before_reset": (
        int,
        {"type": click.Choice(["0", "1"]), "help": "For ONNX: use this value for every GRU, not the one in the file."},
    ),
    "max_iterations": (
        int,
        {
            "type": click.IntRange(min=1),
            "help": "For ONNX: stop with an error if loops iterate more often than this in one run.  [default: 100000]",
        },
    ),
    "open_states": (
        bool,
        {
            "is_flag": True,
            "help": "Make each state that begins inside the file an input and an output, so that the model can stream.",
        },
    ),
    "allow_unread": (bool, {"is_flag": True, "help": "Accept a file that contains tensors that nothing reads."}),
}


def show(found: dict[str, Any], print_it: Callable[[], None], *, as_json: bool) -> None:
    """Print the result of a command, as JSON or for people."""
    if as_json:
        click.echo(json.dumps(found, indent=2))
    else:
        print_it()


def flags(options: Iterable[str]) -> str:
    """Return the options for these parameters: "--key, --max-iterations"."""
    return ", ".join(f"--{name.replace('_', '-')}" for name in options)


@contextmanager
def telling_of_flags() -> Iterator[None]:
    """Add the name of the option to an error about an argument of `fastgru.load`."""
    try:
        yield
    except UnreadTensorsError as error:
        raise UnreadTensorsError(f"{error}; on the command line, --allow-unread") from error


def load_options(function: F) -> F:
    """Add the arguments of `fastgru.load` as options, and pass those that are given as the parameter `options`.

    An `UnreadTensorsError` of the command names --allow-unread.
    """

    @wraps(function)
    def command(*args: Any, **given: Any) -> Any:
        # The prefix is needed, because commands have options of the same names.
        chosen = {name: given.pop(f"load_{name}") for name in _LOAD}
        options = {name: _LOAD[name][0](value) for name, value in chosen.items() if value not in (None, (), False)}
        with telling_of_flags():
            return function(*args, options=options, **given)

    decorated: Any = command
    for name, (_, settings) in reversed(_LOAD.items()):
        decorated = click.option(flags([name]), f"load_{name}", **settings)(decorated)
    return decorated  # type: ignore[no-any-return]
