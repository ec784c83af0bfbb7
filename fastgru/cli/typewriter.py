"""Text that appears character by character, wrapped at words, each character in the colour of its probability."""

from __future__ import annotations

import time
from collections.abc import Iterable

from rich.color import Color
from rich.console import Console
from rich.style import Style
from rich.text import Text

__all__ = ["Typewriter", "colour_of", "legend"]

# From a guess to a certainty; readable on dark and on light terminals alike.
_UNSURE, _SURE = (214, 110, 60), (70, 140, 150)
_MARGIN = 2


def colour_of(probability: float) -> Style:
    """The style of a character to which the model gave this probability."""
    mix = [round(a + (b - a) * min(1.0, max(0.0, probability))) for a, b in zip(_UNSURE, _SURE, strict=True)]
    return Style(color=Color.from_rgb(*mix))


def legend() -> Text:
    """What the colours mean, in one line."""
    bar = Text("each character in the colour of its probability: 0 ", style="dim")
    for i in range(11):
        bar.append("━", style=colour_of(i / 10))
    return bar.append(" 1", style="dim")


class Typewriter:
    """Writes to `console`; waits `pause_s` after each character where the console is a terminal."""

    def __init__(self, console: Console, *, pause_s: float = 0.0) -> None:
        self._console, self._pause_s = console, pause_s if console.is_terminal else 0.0
        self._width = max(20, min(console.width, 96) - 2 * _MARGIN)
        self._column = 0
        self._spaced = False  # a space comes before the next word, unless that begins a line
        self._word: list[tuple[str, Style]] = []

    def write(self, characters: Iterable[tuple[str, Style]]) -> None:
        """Take characters; a word is shown when it is complete."""
        for character, style in characters:
            if not character.isspace():
                self._word.append((character, style))
                continue
            self._show_word()
            if character == "\n":
                self._break_line(paragraph=True)
            else:
                self._spaced = self._column > 0

    def close(self) -> None:
        """Show what is left and end the line."""
        self._show_word()
        if self._column:
            self._break_line()

    def _show_word(self) -> None:
        if not self._word:
            return
        if self._column and self._column + self._spaced + len(self._word) > self._width:
            self._break_line()
        if self._spaced:
            self._put(" ", Style())
            self._spaced = False
        for character, style in self._word:
            if self._column >= self._width:
                self._break_line()
            self._put(character, style)
        self._word.clear()

    def _put(self, character: str, style: Style) -> None:
        if not self._column:
            self._console.print(" " * _MARGIN, end="")
        self._console.print(Text(character, style=style), end="", soft_wrap=True)
        self._column += 1
        if self._pause_s:
            self._console.file.flush()
            time.sleep(self._pause_s)

    def _break_line(self, *, paragraph: bool = False) -> None:
        self._console.print("\n" if paragraph and self._column else "")
        self._column, self._spaced = 0, False
