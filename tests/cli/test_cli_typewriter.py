"""The look of the demo's text."""

from __future__ import annotations

import io

from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.style import Style

from fastgru.cli.demo import colour_of, legend, typewrite


def typed(text: str, *, width: int = 40) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    typewrite(console, [(character, Style()) for character in text])
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def test_lines_break_between_words() -> None:
    lines = typed("and the king said unto him that he should go down into the city").splitlines()
    assert lines == ["  and the king said unto him that he", "  should go down into the city"]


def test_a_line_break_begins_a_paragraph() -> None:
    assert typed("one\ntwo").splitlines() == ["  one", "", "  two"]


@given(st.text(alphabet="ab ,\n[]\\", max_size=300), st.integers(24, 60))
def test_no_character_is_lost_and_no_line_is_too_long(text: str, width: int) -> None:
    output = typed(text, width=width)
    assert "".join(output.split()) == "".join(text.split())
    assert all(len(line) <= width - 2 for line in output.splitlines())


def test_colours_go_from_one_end_to_the_other() -> None:
    ends = [colour_of(p).color for p in (-1.0, 0.0, 1.0, 2.0)]
    assert ends[0] == ends[1] != ends[2] == ends[3]
    assert "━" in legend().plain
