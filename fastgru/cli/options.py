"""Options that several commands have in common."""

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import click

from fastgru.errors import UnreadTensorsError
from fastgru.precisions import PRECISIONS

__all__ = ["fallback_option", "file_argument", "json_option", "load_options", "precision_option"]

F = TypeVar("F", bound=Callable[..., Any])


def file_argument(function: F) -> F:
    """FILE, a path that exists."""
    return click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))(function)


def precision_option(function: F) -> F:
    """--precision, one of `PRECISIONS`, or None."""
    text = "What the kernels compute in; bfloat16 and int8 are those of weights, with the rest in float32."
    text += "  [default: float32, or what a quantised file has]"
    option = click.option("--precision", type=click.Choice(PRECISIONS), help=text)
    return option(function)


def fallback_option(function: F) -> F:
    """--fallback, None or "reference"."""
    text = "ONNX: have nodes that are not implemented run by onnx's own reference implementation: slow, correct."
    return click.option("--fallback", type=click.Choice(["reference"]), help=text)(function)


def load_options(function: F) -> F:
    """The options of `fastgru.load` that a command line can give, as the parameter `options`.

    Only those that were given are in it. An `UnreadTensorsError` of the command tells of --allow-unread.
    """

    @wraps(function)
    def command(
        *args: Any,
        allow_unread: bool,
        linear_before_reset: str | None,
        outputs: tuple[str, ...],
        fallback: str | None,
        architecture: Path | None,
        **rest: Any,
    ) -> Any:
        options: dict[str, Any] = {"allow_unread": True} if allow_unread else {}
        if linear_before_reset is not None:
            options["linear_before_reset"] = int(linear_before_reset)
        if outputs:
            options["outputs"] = list(outputs)
        if fallback is not None:
            options["fallback"] = fallback
        if architecture is not None:
            options["architecture"] = architecture
        try:
            return function(*args, options=options, **rest)
        except UnreadTensorsError as error:
            raise UnreadTensorsError(f"{error}; on the command line, --allow-unread") from error

    decorators = (
        click.option("--allow-unread", is_flag=True, help="Accept tensors of the file that nothing reads."),
        click.option(
            "--linear-before-reset",
            type=click.Choice(["0", "1"]),
            help="ONNX: instead of what the file says, for every GRU.",
        ),
        click.option(
            "--outputs", multiple=True, metavar="NAME", help="Keras: an inner layer to return, too; repeatable."
        ),
        fallback_option,
        click.option(
            "--architecture",
            type=click.Path(exists=True, dir_okay=False, path_type=Path),
            help="Weights alone: the description of the network that they are of, in YAML or JSON.",
        ),
    )
    decorated: Any = command
    for decorator in reversed(decorators):
        decorated = decorator(decorated)
    return decorated  # type: ignore[no-any-return]


def json_option(function: F) -> F:
    """--json, as the parameter `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")(function)
