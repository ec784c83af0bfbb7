"""Where the commands print: standard output for results, standard error for everything else.

On a terminal, lines are wrapped between words. A file or a pipe gets every line whole, unless `COLUMNS` says how wide
it is; no colours and no rules either. `NO_COLOR`, `FORCE_COLOR` and `TERM=dumb` mean what they mean elsewhere.
"""

import os
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import IO, Any, Final

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from fastgru.records import dataclass

__all__ = ["UNBOUNDED", "is_interactive", "is_quiet", "print_facts", "printing", "say", "stderr", "stdout", "wrapped"]

UNBOUNDED: Final = 1_000_000  # the width of a file


@dataclass
class _Settings:
    """wide: lines and tables are never fitted to a terminal. quiet: results and errors alone are printed.

    blank: the stream whose last line is empty, if that was the last one that was printed.
    """

    wide: bool = False
    quiet: bool = False
    blank: IO[str] | None = None


_settings = _Settings()


@contextmanager
def printing(*, wide: bool = False, quiet: bool = False) -> Iterator[None]:
    """Within the block, what was asked for holds; what was asked for around it still does."""
    before = _settings.wide, _settings.quiet
    _settings.wide, _settings.quiet = before[0] or wide, before[1] or quiet
    name = "FASTGRU_QUIET"
    said = os.environ.get(name)
    if quiet:
        os.environ[name] = "1"
    try:
        yield
    finally:
        _settings.wide, _settings.quiet = before
        if quiet:
            os.environ.pop(name) if said is None else os.environ.update({name: said})


def is_quiet() -> bool:
    """Whether nothing but results and errors is wanted."""
    return _settings.quiet or bool(os.environ.get("FASTGRU_QUIET"))


def is_interactive(stream: IO[str] | None) -> bool:
    """Whether lines on this stream can be drawn again: a terminal, and not one that cannot move its cursor."""
    try:
        return stream is not None and stream.isatty() and os.environ.get("TERM") not in ("dumb", "unknown")
    except ValueError:  # it is closed
        return False


def wrapped(text: Text, width: int) -> list[Text]:
    """The lines of the text, which end between words: a word that is longer than a line stays whole."""
    lines: list[Text] = []
    for paragraph in text.split("\n", allow_blank=True):
        ends, begin = [], 0
        for word in re.finditer(r"\S+", paragraph.plain):
            if word.start() > begin and cell_len(paragraph.plain[begin : word.end()]) > width:
                begin = word.start()
                ends.append(begin)
        lines += paragraph.divide(ends)
    for line in lines:
        line.rstrip()
    return lines


class _Console(Console):
    """Words are never broken: one that is longer than a line goes over its end. What stands apart (`is_apart`) begins
    and ends with an empty line, and has one empty line between itself and the next of its kind."""

    @property
    def is_below_blank(self) -> bool:
        """Whether the last line that one of these has printed to this stream is empty."""
        return _settings.blank is self.file

    def print(self, *objects: Any, **options: Any) -> None:
        last: Any = objects[-1] if objects else Text("")
        if objects and all(isinstance(each, Text) for each in objects):
            last = Text("\n").join(wrapped(Text(" ").join(objects), self.width))
            objects = (last,)
        super().print(*objects, **{"overflow": "ignore", "crop": False, **options})
        text = last.plain if isinstance(last, Text) else last
        is_blank = getattr(last, "is_apart", False) or text == "" or (isinstance(text, str) and text.endswith("\n"))
        _settings.blank = self.file if is_blank else None


def stdout(*, wide: bool = True) -> Console:
    """wide: a file or a pipe has no width; else it has 80 columns, as text of many lines needs."""
    return _console(sys.stdout, wide=wide)


def stderr() -> Console:
    """For progress and notes, so that standard output holds results only."""
    return _console(sys.stderr, wide=True)


def say(text: str, *, err: bool = False) -> None:
    """A sentence on standard output, or standard error, with lines that end between words."""
    (stderr() if err else stdout()).print(Text(text))


def _console(stream: IO[str], *, wide: bool) -> Console:
    terminal = stream is not None and not stream.closed and stream.isatty()
    width = shutil.get_terminal_size((UNBOUNDED if wide and not terminal else 80, 24)).columns
    return _Console(file=stream, highlight=False, width=UNBOUNDED if _settings.wide else width)


def print_facts(console: Console, facts: Mapping[str, str | Text], *, indent: int = 2, least: int = 16) -> None:
    """A line for each name with its value, which goes on under itself where it is longer than the line.

    A value with a word that is too long for the room beside the names begins on the next line.
    """
    usual = max(least, *map(len, facts), 0) + indent + 1
    for name, value in facts.items():
        beside, text, whole = usual, Text(" " * indent + name, style="dim"), Text("").append(value)
        if max(map(cell_len, whole.plain.split()), default=0) > console.width - usual:
            console.print(text)
            beside, text = 2 * indent, Text("")
        lines = wrapped(whole, max(20, console.width - beside))
        for number, line in enumerate(lines):
            head = text if not number else Text("")
            head.pad_right(beside - head.cell_len)
            console.print(Text("").append(head).append(line))
