"""What every command prints on terminals of three widths: whole lines, and no word or number that is cut."""

from __future__ import annotations

import os
import re
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from readme_files import make_readme_files
from rich.cells import cell_len
from users import child

from fastgru.cli.group import COMMANDS

fcntl = pytest.importorskip("fcntl", reason="a terminal needs POSIX")
pty = pytest.importorskip("pty", reason="a terminal needs POSIX")
termios = pytest.importorskip("termios", reason="a terminal needs POSIX")

WIDTHS = (60, 80, 120)
TYPED = (
    "adapt model.onnx --data pairs.npz -o adapted.safetensors --train fc. --force",
    "bench model.onnx --rivals none --rounds 1 --turn-ms 1",
    "build --target {target} -o kernels model.onnx",
    "convert model.onnx converted.safetensors --force",
    "demo --length 40 --no-pause",
    "doctor",
    "inspect model.onnx",
    "inspect checkpoint.tar --nodes",
    "memory model.onnx --data x.npy --horizon 30",
    "quantize model.onnx --precision auto --max-error 0.01",
    "run model.onnx --input x.npy",
    "score model.onnx --input sequences.npz --output scored.npz --restart",
    "serve --help",
    "verify model.onnx --no-runtimes",
    "warmup model.onnx",
)
MEASURED = re.compile(r"[-+(]?\d[\d,]*(\.\d+)?(e[-+]\d+)?[x%)]?[,;:.]?|(ns|us|ms|s)[,;)]?")
BARS = re.compile(r"[▁▂▃▄▅▆▇█─━]+")
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("t")
    make_readme_files(folder)
    rng = np.random.default_rng(0)
    np.savez(folder / "sequences.npz", **{name: rng.standard_normal((9, 40), dtype=np.float32) for name in "abc"})
    return folder


def command_of(typed: str) -> list[str]:
    from fastgru.simd.target import TARGET

    return [sys.executable, "-m", "fastgru", *typed.format(target=TARGET.name).split()]


def environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "FORCE_COLOR")}
    return {**kept, "TERM": "xterm-256color", "PYTHONWARNINGS": "default"}


def on_terminal(typed: str, width: int, folder: Path) -> str:
    """What stands on standard output, a terminal of this many columns."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, width, 0, 0))
    with child(
        command_of(typed), cwd=folder, env=environment(), stdin=theirs, stdout=theirs,
        stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        os.close(theirs)
        printed = b"".join(read_all(ours))
        os.close(ours)
        process.wait(120)
    assert process.returncode == 0, printed.decode()
    return ESCAPES.sub("", printed.decode()).replace("\r\n", "\n")


def read_all(terminal: int) -> Iterator[bytes]:
    while True:
        try:
            piece = os.read(terminal, 65536)
        except OSError:  # Linux ends a terminal so
            return
        if not piece:
            return
        yield piece


def through_pipe(typed: str, folder: Path) -> str:
    done = subprocess.run(
        command_of(typed), cwd=folder, env=environment(), capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def words_of(text: str) -> set[str]:
    """Without rules, bars and what is said about the room."""
    text = re.sub(r"Not shown for lack of room:[^.]*\.\s+--wide\s+shows\s+everything\.", "", text)
    text = re.sub(r"each character in the colour of its probability:.*", "", text)
    return set(BARS.sub(" ", text).split())


def is_whole(word: str, whole: set[str]) -> bool:
    """Whether the word, or number, stands in the output that nothing was cut in; figures may be of another run."""
    if word in whole or MEASURED.fullmatch(word):
        return True
    head, shortened, tail = word.partition("…")
    return bool(shortened) and any(each.startswith(head) and each.endswith(tail) for each in whole)


def test_every_command_is_typed() -> None:
    assert {typed.split()[0] for typed in TYPED} == set(COMMANDS)


@pytest.mark.parametrize("typed", TYPED, ids=lambda typed: "-".join(typed.replace(".", " ").split()[:2]))
def test_a_terminal_cuts_nothing(typed: str, files: Path) -> None:
    through_pipe(typed, files)  # what is compiled is compiled now, so that no output tells of it
    whole = words_of(through_pipe(typed, files))
    for width in WIDTHS:
        text = on_terminal(typed, width, files)
        for line in text.splitlines():
            assert cell_len(line.rstrip()) <= width or len(line.split()) == 1, f"{width} columns: {line}"
        assert not {word for word in words_of(text) if not is_whole(word, whole)}, f"{width} columns:\n{text}"
