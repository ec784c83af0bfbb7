"""Options that several commands have in common."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

__all__ = ["PRECISIONS", "file_argument", "json_option", "precision_option"]

F = TypeVar("F", bound=Callable[..., Any])

# Those of `fastgru.engine.PRECISIONS`, which cannot be imported without Numba.
PRECISIONS = ("float64", "float32")


def file_argument(function: F) -> F:
    """FILE, a path that exists."""
    return click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))(function)


def precision_option(function: F) -> F:
    """--precision, one of `PRECISIONS`."""
    text = "What the kernels compute in."
    option = click.option("--precision", type=click.Choice(PRECISIONS), default="float32", show_default=True, help=text)
    return option(function)


def json_option(function: F) -> F:
    """--json, as the parameter `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")(function)
