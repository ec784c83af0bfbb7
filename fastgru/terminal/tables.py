"""Tables that fit the available width without cutting a word or a number.

In a table that is too wide, heads take several lines, columns of sentences wrap between words, and columns of names are
shortened in the middle. If that is not enough, dispensable columns are left out one by one, and a line below the table
names them. A table that is still too wide is printed row by row, with a line for each cell.
"""

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions
from rich.text import Text

from fastgru.terminal.consoles import UNBOUNDED, wrapped

__all__ = ["FittedTable", "legend", "plain_table", "shorten"]

_GAP: Final = 2
_LEAST_NAME: Final = 12
_LEAST_SENTENCE: Final = 24
_LEGEND: Final = 100  # the longest line of a legend, however wide the output is


def shorten(text: str, width: int) -> str:
    """Return the text, or its two ends with an ellipsis between them if it takes more than `width` columns."""
    if cell_len(text) <= width:
        return text
    end = max(0, width - 1) // 2
    return _beginning(text, width - 1 - end) + "…" + _beginning(text[::-1], end)[::-1]


def _beginning(text: str, width: int) -> str:
    """Return as many characters as `width` columns hold; some characters take two columns."""
    taken = 0
    for i, character in enumerate(text):
        taken += cell_len(character)
        if taken > width:
            return text[:i]
    return text


class FittedTable:
    """The table of `plain_table`."""

    is_apart: Final = True  # printed with empty lines above and below

    def __init__(
        self,
        heads: Sequence[str],
        *,
        right: Sequence[str],
        names: Sequence[str],
        sentences: Sequence[str],
        spare: Sequence[str],
        title: str | None,
    ) -> None:
        self._heads, self._title = tuple(heads), title
        self._right, self._names, self._sentences, self._spare = right, names, sentences, spare
        self._rows: list[list[Text]] = []

    def add_row(self, *cells: str | Text) -> None:
        """Add a row. Missing cells at the end are empty. A plain string is taken literally, without markup."""
        row = [cell if isinstance(cell, Text) else Text(cell) for cell in cells]
        self._rows.append(row + [Text("") for _ in range(len(self._heads) - len(row))])

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        width, left_out = console.width, []
        shown = [i for i in range(len(self._heads)) if not i or self._is_filled(i)]
        widths = self._widths(shown, width)
        for name in self._spare:
            if widths is None and name in self._heads and (i := self._heads.index(name)) in shown:
                shown.remove(i)
                left_out.append(name)
                widths = self._widths(shown, width)
        if not getattr(console, "is_below_blank", False):
            yield Text("")
        if self._title:
            yield from wrapped(Text(self._title, style="bold", overflow="ignore"), width)
        yield from self._stacked(console) if widths is None else self._lines(console, shown, widths)
        if left_out and widths is not None:
            words = f"Not shown for lack of room: {', '.join(left_out)}. --wide shows everything."
            yield from wrapped(Text(words, style="dim", overflow="ignore"), width)
        yield Text("")

    def _is_filled(self, column: int) -> bool:
        """Return True if any row has a value in this column; empty columns are not shown."""
        return not self._rows or any(row[column].plain.strip() not in ("", "-") for row in self._rows)

    def _widths(self, shown: Sequence[int], width: int) -> dict[int, int] | None:
        """Return widths of the columns with which the table takes at most `width` columns, or None if it cannot."""
        cells = {i: max((row[i].cell_len for row in self._rows), default=0) for i in shown}
        widths = {i: max(cells[i], cell_len(self._heads[i])) for i in shown}
        room = width - _GAP * (len(shown) - 1)
        least = {i: max(cells[i], *map(cell_len, self._heads[i].split()), 1) for i in shown}
        for kinds, bound in ((self._heads, 0), (self._sentences, _LEAST_SENTENCE), (self._names, _LEAST_NAME)):
            for i in shown:
                if self._heads[i] in kinds and bound:
                    words = (cell_len(word) for row in self._rows for word in row[i].plain.split())
                    longest = max(words, default=0) if kinds is self._sentences else 0
                    least[i] = min(least[i], max(bound, longest, *map(cell_len, self._heads[i].split())))
            while (over := sum(widths.values()) - room) > 0:
                spare = {i: widths[i] - least[i] for i in shown if widths[i] > least[i]}
                if not spare:
                    break
                widest = max(spare, key=lambda i: widths[i])
                widths[widest] -= min(over, max(1, spare[widest] // 2))
            else:
                return widths
        return None

    def _lines(self, console: Console, shown: Sequence[int], widths: dict[int, int]) -> Iterator[Text]:
        heads = [Text(self._heads[i], style="bold") for i in shown]
        yield from self._laid_out(console, shown, widths, heads)
        if console.width < UNBOUNDED or console.is_terminal:
            yield Text("─" * (sum(widths.values()) + _GAP * (len(shown) - 1)), style="dim", overflow="ignore")
        for row in self._rows:
            yield from self._laid_out(console, shown, widths, [row[i] for i in shown])

    def _laid_out(
        self, console: Console, shown: Sequence[int], widths: dict[int, int], cells: Sequence[Text]
    ) -> Iterator[Text]:
        """The lines of one row."""
        blocks = []
        for i, cell in zip(shown, cells, strict=True):
            if self._heads[i] in self._names and cell.cell_len > widths[i] and cell.plain != self._heads[i]:
                cell = Text(shorten(cell.plain, widths[i]), style=cell.style)
            blocks.append(wrapped(cell, widths[i]))
        for number in range(max(map(len, blocks))):
            line = Text(overflow="ignore", no_wrap=True)
            for i, block in zip(shown, blocks, strict=True):
                cell = block[number] if number < len(block) else Text("")
                gap = " " * max(0, widths[i] - cell.cell_len)
                line.append(gap if self._heads[i] in self._right else "").append(cell)
                line.append("" if self._heads[i] in self._right else gap).append(" " * _GAP)
            line.rstrip()
            yield line

    def _stacked(self, console: Console) -> Iterator[Text]:
        beside = max(map(cell_len, self._heads[1:]), default=0) + 2 * _GAP
        for row in self._rows:
            yield Text(f"{self._heads[0]} ".lstrip()).append(row[0])
            for head, cell in zip(self._heads[1:], row[1:], strict=True):
                if cell.plain.strip() not in ("", "-"):
                    for number, line in enumerate(wrapped(cell, max(20, console.width - beside))):
                        label = Text(f"{'':{_GAP}}{'' if number else head}", style="dim", overflow="ignore")
                        label.pad_right(beside - label.cell_len)
                        line.rstrip()
                        yield label.append(line)


def plain_table(
    *columns: str,
    rows: Iterable[Iterable[str | Text]] = (),
    right: Sequence[str] = (),
    names: Sequence[str] = (),
    sentences: Sequence[str] = (),
    spare: Sequence[str] = (),
    title: str | None = None,
) -> FittedTable:
    """Return a table in our common style. A column without any value is left out.

    `right` are columns of numbers, `names` may be shortened in the middle, and `sentences` may take several lines.
    Columns in `spare` may be left out, beginning with the first.
    """
    table = FittedTable(columns, right=right, names=names, sentences=sentences, spare=spare, title=title)
    for row in rows:
        table.add_row(*row)
    return table


def legend(pairs: Iterable[tuple[str, str]], width: int) -> Text:
    """Return names with their meanings, wrapped between words, without spaces at line ends for output to a file."""
    named = dict(pairs)
    start = max(map(len, named), default=0) + _GAP
    fill = textwrap.TextWrapper(
        min(width, _LEGEND), subsequent_indent=" " * start, break_long_words=False, break_on_hyphens=False
    ).fill
    return Text("\n".join(fill(f"{name:<{start}}{words}") for name, words in named.items()), style="dim")
