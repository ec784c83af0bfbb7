"""Options that several commands have in common."""

import json
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from fastgru.errors import UnreadTensorsError
from fastgru.precisions import ASKED

__all__ = ["fallback_option", "file_argument", "json_option", "load_options", "precision_option", "show"]

F = TypeVar("F", bound=Callable[..., Any])

file_argument = click.argument("file", type=click.Path(exists=True, path_type=Path))  # readers refuse a directory
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
precision_option = click.option(
    "--precision",
    type=click.Choice(ASKED),
    help="What the kernels compute in; bfloat16 and int8 are those of weights, with the rest in float32. auto takes,"
    " weight by weight, bfloat16 where this CPU is no slower with it, and auto-int8 int8 as well."
    "  [default: float32, or what a quantised file has]",
)
fallback_option = click.option(
    "--fallback",
    type=click.Choice(["reference"]),
    help="ONNX: have nodes that are not implemented run by onnx's own reference implementation, slowly, where it was"
    " proved right.",
)
# The last is the first in the help. What each is read as, by the name of its parameter in `fastgru.load`.
_LOAD: Final = (
    click.option("--key", metavar="PATH", help="Checkpoints: the dotted path of the dict of tensors to read."),
    click.option(
        "--architecture",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="Weights alone: the description of the network that they are of, in YAML or JSON.",
    ),
    fallback_option,
    click.option("--outputs", multiple=True, metavar="NAME", help="Keras: an inner layer to return, too; repeatable."),
    click.option(
        "--linear-before-reset",
        type=click.Choice(["0", "1"]),
        help="ONNX: instead of what the file says, for every GRU.",
    ),
    click.option(
        "--max-iterations",
        type=click.IntRange(min=1),
        help="ONNX: how often a loop may go round in one run before it ends in an error (100,000).",
    ),
    click.option("--allow-unread", is_flag=True, help="Accept tensors of the file that nothing reads."),
)
_READ: Final[dict[str, Callable[[Any], object]]] = {
    "allow_unread": bool,
    "linear_before_reset": int,
    "outputs": list,
    "fallback": str,
    "architecture": Path,
    "key": str,
    "max_iterations": int,
}


def show(found: dict[str, Any], print_it: Callable[[], None], *, as_json: bool) -> None:
    """What a command has found: as JSON, or printed for people."""
    if as_json:
        click.echo(json.dumps(found, indent=2))
    else:
        print_it()


def load_options(function: F) -> F:
    """The options of `fastgru.load` that a command line can give, as the parameter `options`.

    Only those that were given are in it. An `UnreadTensorsError` of the command tells of --allow-unread.
    """

    @wraps(function)
    def command(*args: Any, **given: Any) -> Any:
        chosen = {name: given.pop(name) for name in _READ}
        options = {name: _READ[name](value) for name, value in chosen.items() if value not in (None, (), False)}
        try:
            return function(*args, options=options, **given)
        except UnreadTensorsError as error:
            raise UnreadTensorsError(f"{error}; on the command line, --allow-unread") from error

    decorated: Any = command
    for option in _LOAD:
        decorated = option(decorated)
    return decorated  # type: ignore[no-any-return]
