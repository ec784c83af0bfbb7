"""The process of the other side: its messages, its numbers, and everything that may come instead of an answer."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from bench_tools import CASES, write_model

from fastgru.bench import worker
from fastgru.bench.calls import WAYS
from fastgru.bench.cases import Case
from fastgru.bench.contender import NAME, UnableError, ours
from fastgru.bench.measure import check_outputs, outputs_of, same_bits
from fastgru.bench.model_file import file_problem
from fastgru.bench.problem import gru_problem
from fastgru.bench.rivals.other import OTHER, Sides, Worker, WorkerError

STEP, WHOLE = Case("step", 1, 1, 4, 4), Case("sequence", 5, 1, 4, 4)
WAYS_OF = [
    *(replace(STEP, way=way) for way in WAYS),
    *(replace(WHOLE, way=way) for way in WAYS if way != "push"),
]


@pytest.fixture(scope="module")
def sides() -> Iterator[Sides]:
    """Ours on both sides: the interpreter of the tests may find fastgru by a path that only it is told."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fastgru.bench.rivals.other.Worker", _ours_on_both_sides)
        with Sides(Path(sys.executable)) as found:
            yield found


def _ours_on_both_sides(python: Path, search: list[str] | None = None) -> Worker:
    return Worker(python, search or list(sys.path))


def test_a_message_survives() -> None:
    stream = io.BytesIO()
    arrays = {"feed:x": np.arange(6, dtype=np.float32).reshape(2, 3), "weight:b": np.zeros(0, np.int32)}
    worker.send(stream, {"do": "this", "size": 3}, arrays)
    worker.send(stream, {"do": "that"}, {})
    stream.seek(0)
    header, found = worker.receive(stream) or ({}, {})
    assert header == {"do": "this", "size": 3}
    assert list(found) == list(arrays)
    assert all(
        np.array_equal(found[name], array) and found[name].dtype == array.dtype for name, array in arrays.items()
    )
    assert worker.receive(stream) == ({"do": "that"}, {})
    assert worker.receive(stream) is None


def test_what_is_no_message_is_refused() -> None:
    with pytest.raises(ValueError, match="expected a message"):
        worker.receive(io.BytesIO(b"Welcome to this interpreter\n"))
    whole = io.BytesIO()
    worker.send(whole, {"do": "this"}, {"x": np.zeros(3)})
    for size in (len(worker.MAGIC) + 3, len(whole.getvalue()) - 1):
        with pytest.raises(EOFError):
            worker.receive(io.BytesIO(whole.getvalue()[:size]))


@pytest.mark.parametrize("case", [*CASES, *WAYS_OF], ids=lambda case: case.slug)
def test_both_sides_give_the_bits_of_this_process(sides: Sides, case: Case) -> None:
    problem = gru_problem(case)
    expected = outputs_of(ours(problem, 1), problem)
    check_outputs(expected, problem.expected, who="ours", against="float64", precision="float32")
    for contender in (sides.ours(problem, 1), sides.theirs(problem, 1)):
        for _ in range(2):  # `reset` brings the second run to where the first began
            assert same_bits(outputs_of(contender, problem), expected)
        samples = contender.timed(3, 5)
        assert len(samples) == 5
        assert min(samples) > 0


def test_a_file_is_read_by_both_sides(sides: Sides, tmp_path: Path) -> None:
    problem = file_problem(write_model(tmp_path, CASES[1]), {})
    assert same_bits(outputs_of(sides.theirs(problem, 1), problem), outputs_of(ours(problem, 1), problem))


def test_a_refusal_is_told_apart_from_a_failure(sides: Sides) -> None:
    problem = gru_problem(CASES[1])
    with pytest.raises(UnableError, match="100000"):
        sides.theirs(problem, 100_000)
    problem.precision = "int3"
    with pytest.raises(UnableError, match="int3"):
        sides.theirs(problem, 1)
    problem = gru_problem(CASES[1])
    contender = sides.theirs(problem, 1)
    problem.feeds["x"] = np.zeros((1, 2, 3, 4), np.float32)
    with pytest.raises(WorkerError, match="broadcast"):
        contender.call()


def test_each_side_tells_which_it_is(sides: Sides) -> None:
    about = sides.about
    assert about[NAME] == about[OTHER]
    assert len(about[NAME]["sources"]) == 10


def test_calls_are_watched_beside_another_fastgru(sides: Sides) -> None:
    problem = gru_problem(CASES[0])
    sides.theirs(problem, 1)
    assert sides.watch(OTHER, "allocations", pushes=50)["pushes"] == 50
    assert sides.watch(OTHER, "tail", pushes=50, collector=False)["p99"] >= 1
    assert sides.watch(OTHER, "paced", pushes=3, interval_s=0.001)["p99_s"] > 0


posix = pytest.mark.skipif(os.name != "posix", reason="the interpreters are shell scripts")


def interpreter(folder: Path, script: str) -> Path:
    path = folder / "python"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


@posix
@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("exit 3", "ended with status 3 before it answered 'hello': it said nothing"),
        ("echo no such module >&2; exit 1", "ended with status 1 before it answered 'hello': no such module"),
        ("kill -SEGV $$", "ended with status -11"),
        ("echo Welcome to this interpreter; sleep 60", "expected a message that begins with .*, got b'Welcome to this"),
        ("sleep 60", "no answer to 'hello' within 0.5 s"),
        (f'exec {sys.executable} -S "$@"', "ended with status 1 before it answered 'hello': .*numpy"),
    ],
)
def test_an_interpreter_that_does_not_answer_is_named_and_ended(tmp_path: Path, script: str, words: str) -> None:
    python = interpreter(tmp_path, script)
    found = Worker(python, answer_s=0.5 if "within" in words else 60.0)
    try:
        with pytest.raises(WorkerError, match=words) as error:
            found.hello()
        assert str(python) in str(error.value)
    finally:
        found.close()
    assert found._process.poll() is not None


@posix
def test_what_is_no_interpreter_is_named(tmp_path: Path) -> None:
    path = tmp_path / "python"
    path.write_text("not a program")
    with pytest.raises(WorkerError, match="expected a Python interpreter: Permission denied"):
        Worker(path)


@posix
def test_an_interpreter_without_fastgru_is_named_and_no_process_is_left(tmp_path: Path) -> None:
    (tmp_path / "fastgru").mkdir()
    (tmp_path / "fastgru" / "__init__.py").write_text("raise ImportError('no such fastgru')")
    found = Worker(Path(sys.executable), [str(tmp_path), *sys.path])
    with pytest.raises(WorkerError, match="expected an interpreter that imports fastgru: ImportError: no such fastgru"):
        found.hello()
    found.close()


@posix
@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_no_process_outlives_its_context(error: type[BaseException], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastgru.bench.rivals.other.Worker", _ours_on_both_sides)
    processes = []

    def interrupted() -> None:
        with Sides(Path(sys.executable)) as sides:
            processes.extend(each._process for each in sides._workers.values())
            assert all(process.poll() is None for process in processes)
            raise error

    with pytest.raises(error):
        interrupted()
    assert [process.poll() is None for process in processes] == [False, False]


@posix
def test_a_process_whose_parent_is_gone_ends() -> None:
    found = Worker(Path(sys.executable), list(sys.path))
    found.hello()
    assert found._process.stdin is not None
    found._process.stdin.close()
    assert found._process.wait(60) == 0
    found.close()
