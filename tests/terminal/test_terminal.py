"""Tables, lines and progress: nothing is cut inside a word or a number, whatever the width."""

from __future__ import annotations

import io
import re
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from fastgru.simd.notices import Progress
from fastgru.terminal import legend, plain_table, printing, progress, say, shorten, stdout
from fastgru.terminal.consoles import UNBOUNDED, wrapped

WORDS = st.text(st.characters(codec="utf-8", categories=("L", "N")), min_size=1, max_size=30)


def shown(width: int, *rows: tuple[str, ...]) -> list[str]:
    table = plain_table(
        "node", "largest error", "why", "bytes", rows=rows, right=("largest error", "bytes"), names=("node",),
        sentences=("why",), spare=("bytes",),
    )  # fmt: skip
    out = io.StringIO()
    Console(file=out, width=width).print(table, crop=False)
    return out.getvalue().splitlines()


@given(WORDS, st.integers(1, 40))
def test_a_name_is_shortened_to_its_two_ends(name: str, width: int) -> None:
    short = shorten(name, width)
    assert cell_len(short) <= width
    if short != name:
        head, tail = short.split("…")
        assert name.startswith(head)
        assert name.endswith(tail)


@given(st.lists(WORDS, max_size=20), st.integers(1, 100))
def test_lines_end_between_words(words: list[str], width: int) -> None:
    lines = wrapped(Text(" ".join(words)), width)
    assert [word for line in lines for word in line.plain.split()] == " ".join(words).split()
    assert all(line.cell_len <= width or len(line.plain.split()) == 1 for line in lines)


@pytest.mark.parametrize("width", [30, 60, 80, 120, UNBOUNDED])
def test_no_number_and_no_word_is_cut(width: int) -> None:
    why = "float32 is faster with so few outputs"
    lines = shown(
        width, ("/encoder/層/gru_with_a_very_long_name/GRU", "1.25e-03", why, "21.0 KiB"), ("y", "-", "", "680 B")
    )
    said = " ".join(lines)
    for word in ("1.25e-03", *why.split()):
        assert re.search(rf"(?<!\S){re.escape(word)}(?!\S)", said), (width, lines)
    assert width < 60 or all(cell_len(line) <= width for line in lines)
    assert ("21.0 KiB" in said) or "Not shown for lack of room: bytes." in said


def test_a_column_that_says_nothing_is_left_out() -> None:
    assert "bytes" not in " ".join(shown(80, ("a", "1", "because", "-"), ("b", "2", "", "")))


def test_without_a_terminal_progress_is_a_line_from_time_to_time(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("first", every_s=0.05) as tell:
        tell("working")
        time.sleep(0.5)
    lines = capsys.readouterr().err.splitlines()
    assert lines
    assert all(re.fullmatch(r"working \(\d+ s\)", line) for line in lines)
    with printing(quiet=True), progress("first", every_s=0.01):
        time.sleep(0.1)
    assert capsys.readouterr().err == ""


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("compiles", [False, True])
def test_the_line_of_progress_tells_of_compilations_while_there_are_any(
    compiles: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.delenv("FASTGRU_QUIET", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    with progress("training", compiles=compiles):
        compilations = Progress("compiling kernels", 3)
        compilations.show()
        time.sleep(0.3)
        compilations.close()
        told = terminal.getvalue()
        time.sleep(0.3)
    assert ("compiling kernels: 1 of 3" in told) is not compiles
    assert "training" in terminal.getvalue()[len(told) :]
    assert "compiling" not in terminal.getvalue()[len(told) :]
    assert "fastgru:" not in terminal.getvalue()


def test_one_empty_line_stands_between_two_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    table = plain_table("a", "b", rows=[("1", "2")])
    for console in (stdout(), stdout()):
        console.print(table)
    say("between")
    stdout().print(table)
    say("")
    stdout().print(table)
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    stdout().print(table)
    assert "".join(line[0] if line else "." for line in out.getvalue().split("\n")) == ".a1.a1.b.a1..a1.."
    assert sys.stdout.getvalue().startswith("\n")  # type: ignore[attr-defined]


def test_a_legend_is_wrapped_beside_its_names() -> None:
    text = legend([("p99", "99 of 100 calls took at most this long"), ("spread", "one word")], 30).plain
    assert text.splitlines() == ["p99     99 of 100 calls took", "        at most this long", "spread  one word"]
