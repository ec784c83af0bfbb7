"""Kernels are compiled by two processes at a time, and by one alone wherever there cannot be two."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from slowness import within

from fastgru.simd import cache, notices

WORKER = Path(__file__).with_name("compiling_worker.py")
NAMES = ["look", "put", "take"]


def compiled(circumstance: str, tmp_path: Path, **settings: str) -> dict[str, Any]:
    dies = tmp_path / "python-that-dies"
    dies.write_text("#!/bin/sh\nexit 1\n", encoding="ascii")
    dies.chmod(0o755)
    environment = {**os.environ, "FASTGRU_CACHE_DIR": str(tmp_path / "cache"), **settings}
    command = [sys.executable, str(WORKER), circumstance, str(dies)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=within(240), check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert {*NAMES, "change_mode"} <= set(report["compiled"])
    return {**report, "stderr": done.stderr}


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity") or len(os.sched_getaffinity(0)) < 2, reason="needs two cores")
def test_a_second_process_takes_from_the_back_and_what_it_made_is_kept(tmp_path: Path) -> None:
    report = compiled("beside", tmp_path)
    assert report["here"][0] == "look"
    assert len(report["here"]) < 4, "the other process compiled nothing"
    kept = {path.stem for path in (tmp_path / "cache").glob("*/*.fgo")}
    assert kept == {*report["compiled"]}


@pytest.mark.parametrize("circumstance", ["no process", "one core", "another program", "it dies"])
def test_one_process_compiles_everything_where_there_cannot_be_two(circumstance: str, tmp_path: Path) -> None:
    assert set(NAMES) <= set(compiled(circumstance, tmp_path)["here"])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_of_a_fork_goes_on_by_itself(tmp_path: Path) -> None:
    compiled("a fork", tmp_path)


def test_a_folder_that_cannot_be_written_is_no_hindrance(tmp_path: Path) -> None:
    report = compiled("", tmp_path, FASTGRU_CACHE_DIR=os.devnull + "/none")
    (line,) = [line for line in report["stderr"].splitlines() if "compiling kernels" not in line]
    assert "cannot be used" in line


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_a_count_that_is_gone_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.delenv("FASTGRU_QUIET", raising=False)
    progress = notices.Progress("compiling", 3)
    progress.reached(1)
    assert terminal.getvalue() == "", "nothing is said before it takes long"
    progress.show()
    progress.reached(2)
    progress.reached(1)
    progress.close()
    line = "fastgru: compiling: 3 of 3"
    assert terminal.getvalue() == f"\rfastgru: compiling: 2 of 3\r{line}\r{line}\r{' ' * len(line)}\r"
    progress.show()
    assert terminal.getvalue().endswith(" \r"), "nothing is said after it"


def test_elsewhere_one_line_is_said_in_a_process_and_none_where_it_is_to_be_quiet(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("FASTGRU_QUIET", raising=False)
    monkeypatch.setattr(notices.Progress, "said", False)
    for _ in range(2):
        notices.Progress("compiling", 3, "; later").show()
    assert capsys.readouterr().err == "fastgru: compiling; later\n"
    monkeypatch.setattr(notices.Progress, "said", False)
    monkeypatch.setenv("FASTGRU_QUIET", "1")
    notices.Progress("compiling", 3).show()
    assert capsys.readouterr().err == ""


def test_whoever_has_the_line_of_the_terminal_is_told_and_nothing_is_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("FASTGRU_QUIET", raising=False)
    texts: list[str] = []
    with notices.told_by(texts.append):
        progress = notices.Progress("compiling", 3)
        progress.show()
        progress.reached(2)
        progress.close()
    assert texts == ["compiling: 1 of 3", "compiling: 3 of 3", ""]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("kept", [True, False])
def test_it_is_said_whether_later_processes_have_the_kernels(kept: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "describe", lambda: {"writable": kept, "problem": ""})
    with cache.compilations() as progress:
        said = progress._what + progress._more
    into = " into the cache; later processes load them from there"
    assert said == f"compiling kernels for {cache.TARGET.short}{into if kept else ''}"
