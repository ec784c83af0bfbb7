"""Text that appears character by character, wrapped at words, each character in the colour of its probability."""

import time
from collections.abc import Iterable

from rich.color import Color
from rich.console import Console
from rich.style import Style
from rich.text import Text

__all__ = ["colour_of", "legend", "typewrite"]

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


def typewrite(console: Console, characters: Iterable[tuple[str, Style]], *, pause_s: float = 0.0) -> None:
    """Print these characters, a blank line for a line break; `pause_s` after each where the console is a terminal."""
    width = max(20, min(console.width, 96) - 2 * _MARGIN)
    paragraphs = [paragraph for paragraph in Text.assemble(*characters).split() if paragraph.plain.strip()]
    for number, paragraph in enumerate(paragraphs):
        if number:
            console.print()
        for line in paragraph.wrap(console, width):
            line.rstrip()
            console.print(" " * _MARGIN, end="")
            slowly = pause_s and console.is_terminal
            for part in line.divide(range(1, len(line))) if slowly else [line]:
                console.print(part, end="", soft_wrap=True)
                if slowly:
                    console.file.flush()
                    time.sleep(pause_s)
            console.print()
