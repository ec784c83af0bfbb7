"""Files that a command is to write, checked before its work begins."""

from collections.abc import Sequence
from pathlib import Path

import click

__all__ = ["check_output"]


def check_output(path: Path, suffixes: Sequence[str] = (), *, overwrite: bool = True) -> None:
    """Raise `UsageError` if this file could not be written, or exists and must stay.

    suffixes: those that its name may have; none means any.
    """
    if suffixes and path.suffix.lower() not in suffixes:
        names = " or ".join(filter(None, (", ".join(suffixes[:-1]), suffixes[-1])))
        raise click.UsageError(f"{path}: expected a name that ends in {names}")
    folder = path.parent
    if not folder.is_dir():
        why = f"{folder} is not a folder" if folder.exists() else f"there is no folder {folder}"
        raise click.UsageError(f"{path}: {why}")
    if path.exists() and not overwrite:
        raise click.UsageError(f"{path}: exists already; --force overwrites it")
