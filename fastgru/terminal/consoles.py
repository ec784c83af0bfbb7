"""Where the commands print: results to standard output, everything else to standard error.

On a terminal, lines are wrapped between words. A file or a pipe gets every line whole, unless `COLUMNS` gives a width,
and gets no colours and no rules. `NO_COLOR`, `FORCE_COLOR` and `TERM=dumb` mean what they mean in other programs.
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
    """wide: never fit lines and tables to a terminal. quiet: print only results and errors.

    blank: the stream that was printed to last, if its last line is empty.
    """

    wide: bool = False
    quiet: bool = False
    blank: IO[str] | None = None


_settings = _Settings()


@contextmanager
def printing(*, wide: bool = False, quiet: bool = False) -> Iterator[None]:
    """Print wide or quiet inside the block. Settings of an outer block stay in force."""
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
    """Return True if only results and errors are to be printed."""
    return _settings.quiet or bool(os.environ.get("FASTGRU_QUIET"))


def is_interactive(stream: IO[str] | None) -> bool:
    """Return True if lines on this stream can be redrawn: it is a terminal that can move its cursor."""
    try:
        return stream is not None and stream.isatty() and os.environ.get("TERM") not in ("dumb", "unknown")
    except ValueError:  # the stream is closed
        return False


def wrapped(text: Text, width: int) -> list[Text]:
    """Return the lines of the text, which end between words. A word that is longer than a line stays whole."""
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
    """A console that never breaks words: a word that is longer than a line runs over its end.

    An object with `is_apart` begins and ends with an empty line. Two of them share one empty line.
    """

    @property
    def is_below_blank(self) -> bool:
        """True if the last line that a console of this class printed to this stream is empty."""
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
    """Return a console on standard output. wide: a file or pipe has no width, instead of 80 columns for long texts."""
    return _console(sys.stdout, wide=wide)


def stderr() -> Console:
    """Return a console for progress and notes, so that standard output has only results."""
    return _console(sys.stderr, wide=True)


def say(text: str, *, err: bool = False) -> None:
    """Print a sentence to standard output or standard error, with lines that end between words."""
    (stderr() if err else stdout()).print(Text(text))


def _console(stream: IO[str], *, wide: bool) -> Console:
    terminal = stream is not None and not stream.closed and stream.isatty()
    width = shutil.get_terminal_size((UNBOUNDED if wide and not terminal else 80, 24)).columns
    return _Console(file=stream, highlight=False, width=UNBOUNDED if _settings.wide else width)


def print_facts(console: Console, facts: Mapping[str, str | Text], *, indent: int = 2, least: int = 16) -> None:
    """Print a line for each name and its value. A value that is longer than the line continues below its beginning.

    A value with a word that is too long for the space beside the names begins on the next line.
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
