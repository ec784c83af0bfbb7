"""A lock between processes: one has it, the others are told which, and the end of its process gives it back."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from users import child

from fastgru.filelock import FileLock, HeldError

HOLD = "import sys; from pathlib import Path; from fastgru.filelock import FileLock\n"
HOLD += "lock = FileLock(Path(sys.argv[1])); print('held', flush=True); sys.stdin.read()"


def test_one_has_it_and_the_end_of_a_process_gives_it_back(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    words = [sys.executable, "-c", HOLD, str(path)]
    with child(words, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == "held"
        with pytest.raises(HeldError) as told:
            FileLock(path)
        assert told.value.holder == str(process.pid)
        process.kill()
        process.wait()
        FileLock(path).release(remove=True)
    assert not path.exists()


def test_within_a_process_and_given_back_twice(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    lock = FileLock(path)
    with pytest.raises(HeldError, match=f"held by process {os.getpid()}"):
        FileLock(path)
    lock.release()
    lock.release()
    assert path.exists()
    FileLock(path).release(remove=True)
    assert not path.exists()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows removes no file that is open")
def test_a_file_that_its_holder_has_removed_is_nobodys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who opened it before it was removed, and locks it after, takes a new one: else two would have a lock each."""
    path, opened = tmp_path / "lock", os.open
    first = [FileLock(path)]

    def late(name: Path, *arguments: int) -> int:
        file = opened(name, *arguments)
        if first:
            first.pop().release(remove=True)
        return file

    monkeypatch.setattr("fastgru.filelock.os.open", late)
    second = FileLock(path)
    with pytest.raises(HeldError):
        FileLock(path)
    second.release(remove=True)
