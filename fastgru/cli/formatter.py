"""Help that breaks lines only between words: options such as --max-error stay whole."""

from collections.abc import Iterable
from typing import Final

import click

__all__ = ["Context"]

_HYPHEN: Final = "\N{NON-BREAKING HYPHEN}"  # text wrapping does not break lines at this character


class _Formatter(click.HelpFormatter):
    def write(self, string: str) -> None:
        super().write(string.replace(_HYPHEN, "-"))

    def write_text(self, text: str) -> None:
        super().write_text(text.replace("-", _HYPHEN))

    def write_usage(self, prog: str, args: str = "", prefix: str | None = None) -> None:
        super().write_usage(prog, args.replace("-", _HYPHEN), prefix)

    def write_dl(self, rows: Iterable[tuple[str, str]], col_max: int = 26, col_spacing: int = 2) -> None:
        super().write_dl([(first, second.replace("-", _HYPHEN)) for first, second in rows], col_max, col_spacing)


class Context(click.Context):
    """The context of every command."""

    formatter_class = _Formatter
