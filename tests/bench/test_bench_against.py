"""`--against` from the command line: rows, the table, the exit status; on ours as the other fastgru."""

from __future__ import annotations

import io
import sys
from dataclasses import replace
from html import escape
from pathlib import Path

import pytest
from bench_tools import CASES, timing, write_model
from click.testing import CliRunner
from click.testing import Result as Ran
from rich.console import Console

from fastgru.bench import against
from fastgru.bench.cases import Case
from fastgru.bench.comparison import Comparison, Repeat
from fastgru.bench.contender import NAME
from fastgru.bench.measure import Plan
from fastgru.bench.page import render_page
from fastgru.bench.problem import gru_problem
from fastgru.bench.report import print_report
from fastgru.bench.result import Result, Row
from fastgru.bench.rivals.other import OTHER, Worker
from fastgru.bench.suite import run_problem
from fastgru.cli import main

PYTHON = Path(sys.executable)
SHORT = ["--rounds", "1", "--turn-ms", "0.1"]


@pytest.fixture(autouse=True)
def ours_on_both_sides(monkeypatch: pytest.MonkeyPatch) -> None:
    """The interpreter of the tests may find fastgru by a path that only it is told. Two pairs are enough here."""

    def found(python: Path, search: list[str] | None = None) -> Worker:
        return Worker(python, search or list(sys.path))

    monkeypatch.setattr("fastgru.bench.rivals.other.Worker", found)
    monkeypatch.setattr("fastgru.bench.suite._enough", lambda ratios, elapsed_s: len(ratios) > 1)


@pytest.fixture
def compared(result: Result) -> Result:
    """Cells that are slower, faster, the same and not compared."""
    about = {"fastgru": "0.1", "sources": "0123456789", "python": "3.11.0", "numpy": "2.0"}
    rows = []
    for H, ratio in ((16, 0.8), (32, 1.25), (64, 1.0)):
        case = Case("step", 1, 1, H, H)
        other = Comparison((Repeat((ratio,) * 3),) * (1 if ratio == 1 else 3), same_bits=ratio != 1)
        times = timing(NAME, 1e-6), {OTHER: timing(OTHER, ratio * 1e-6)}
        rows.append(Row(case.title, case.slug, 1, case, *times, other=other))
    case = Case("block", 9, 1, 8, 8)
    rows.append(Row(case.title, case.slug, 1, case, timing(NAME, 1e-6), absent={OTHER: "fails: it has no blocks"}))
    sides = {NAME: about, OTHER: {**about, "sources": "abcdefabcd"}}
    return replace(result, rows=tuple(rows), steady=None, sides=sides)


def shown(result: Result) -> str:
    console = Console(width=160, record=True, file=io.StringIO())
    print_report(result, console)
    return " ".join(console.export_text().split())


def test_the_table_names_what_has_changed_and_who_was_compared(compared: Result) -> None:
    text = shown(compared)
    for words in (
        "slower (0.800, 0.800, 0.800)",
        "slower: step-h16 on 1 0.800",
        "faster: step-h32 on 1 1.250",
        "not compared: block-t9-h8 on 1: fails: it has no blocks",
        "geometric mean of all: 1.0000 (3 cells, 1 slower, 1 faster, 1 with other bits)",
        "theirs: fastgru 0.1, sources abcdefabcd; Python 3.11.0, numpy 2.0",
        "ours: fastgru 0.1, sources 0123456789",
        'CPU <&> "model"',
    ):
        assert words in text
    assert "RTNeural" not in text
    assert "of the same sources" not in text
    assert compared.sides is not None
    same = replace(compared, sides={**compared.sides, OTHER: compared.sides[NAME]})
    assert "both sides are of the same sources" in shown(same)


def test_every_figure_survives_json(compared: Result) -> None:
    assert Result.from_json(compared.to_json()) == compared


def test_a_failure_is_a_low_mean_a_slower_cell_or_one_that_is_not_compared(compared: Result) -> None:
    slower, faster, same, absent = compared.rows
    assert against.failures(replace(compared, rows=(faster, same)), 0.99) == []
    assert against.failures(replace(compared, rows=(same,)), 1.01) == [
        "the geometric mean is 1.0000, expected at least 1.01"
    ]
    assert against.failures(replace(compared, rows=(slower, faster)), 0.5) == ["step-h16 on 1 is slower"]
    assert against.failures(replace(compared, rows=(same, absent)), 0.99) == ["block-t9-h8 on 1 is not compared"]


def test_steadiness_is_shown_side_by_side_and_bytes_that_are_kept_fail(compared: Result) -> None:
    def watched(kept: int) -> dict[str, object]:
        tail = {"pushes": 9, "median_s": 1e-6, "p99": 1.1, "p999": 1.5, "worst": 9.0}
        return {
            "allocations": {"pushes": 9, "kept_bytes": kept, "passing_bytes": 0, "numba_allocations": 0},
            "tails": [{**tail, "collector": on} for on in (True, False)],
            "paced": {"pushes": 9, "interval_s": 0.01, "median_s": 2e-6, "p99_s": 3e-6, "largest_s": 4e-6, "missed": 0},
        }

    starts = {"medians_s": {NAME: 0.5, OTHER: 0.25}, "absent": {}}
    steady = {"case": "step-h64", NAME: [watched(7)], OTHER: [watched(0)], "cold": starts}
    result = replace(compared, rows=(), steady=steady)
    text = shown(result)
    assert "a push every 10 ms: p99 time" in text
    assert "process start to first output 250 ms 500 ms" in text
    pytest.importorskip("matplotlib")
    assert "a push every 10 ms: deadlines missed" in render_page(result)
    assert against.failures(result, 0.99) == ["a step keeps 7 bytes, theirs 0"]
    assert Result.from_json(result.to_json()) == result


@pytest.mark.parametrize("case", [CASES[0], replace(CASES[1], precision="int8")], ids=lambda case: case.slug)
@pytest.mark.parametrize("threads", [1, 2])
def test_a_row_is_of_both_sides(case: Case, threads: int, quick_plan: Plan) -> None:
    row = run_problem(gru_problem(case), "a title", threads, [], quick_plan, PYTHON)
    assert row.other is not None
    assert row.other.same_bits
    assert set(row.rivals) == {OTHER}
    assert row.best_rival is None
    assert not row.trouble


def test_a_side_that_ends_is_a_row_that_says_so(monkeypatch: pytest.MonkeyPatch, quick_plan: Plan) -> None:
    def dies(self: Worker, do: str, *arguments: object, **header: object) -> object:
        if do == "time":
            self._kill()
        return ask(self, do, *arguments, **header)  # type: ignore[arg-type]

    ask = Worker.ask
    monkeypatch.setattr(Worker, "ask", dies)
    row = run_problem(gru_problem(CASES[0]), "a title", 1, [], quick_plan, PYTHON)
    assert row.other is None
    assert "ended with status -9 before it answered 'time'" in row.trouble


def test_the_page_has_the_same_table(compared: Result) -> None:
    pytest.importorskip("matplotlib")
    page = render_page(compared)
    assert "fastgru beside other fastgru" in page
    for row in compared.rows:
        assert row.title in page
    for line in against.sentences(compared):
        assert escape(line) in page
    assert 'class="bad">slower' in page
    assert 'class="good">faster' in page


def run(*arguments: str) -> Ran:
    return CliRunner().invoke(main, ["bench", *arguments])


def test_from_the_command_line_to_json(tmp_path: Path) -> None:
    data = tmp_path / "out.json"
    found = run("--suite", "calls", "--case", "step-h8-push", "--against", str(PYTHON), "--json", str(data), *SHORT)
    assert found.exit_code == 0, found.output
    assert "both sides are of the same sources" in found.output
    made = Result.from_json(data.read_text())
    assert made.sides is not None
    assert [row.other is not None for row in made.rows] == [True]


def test_a_model_is_compared(tmp_path: Path) -> None:
    found = run(str(write_model(tmp_path, CASES[0])), "--against", str(PYTHON), *SHORT)
    assert found.exit_code == 0, found.output
    assert "model.onnx, a push of x (1, 2, 3)" in found.output


def test_a_mean_that_is_too_low_is_an_exit_status(tmp_path: Path) -> None:
    model = str(write_model(tmp_path, CASES[0]))
    assert run(model, "--against", str(PYTHON), "--fail-below", "1000", *SHORT).exit_code == 1


def test_steadiness_is_compared(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def cold_start(starts: int, *, against: Path) -> dict[str, object]:
        return {"medians_s": {NAME: 1.0, OTHER: 1.0}, "absent": {}}

    def watch(self: object, name: str, what: str, **options: object) -> dict[str, object]:
        return of_sides(self, name, what, **{**options, "pushes": 5})  # type: ignore[arg-type]

    from fastgru.bench.rivals.other import Sides

    of_sides = Sides.watch
    monkeypatch.setattr("fastgru.bench.steady.cold_start", cold_start)
    monkeypatch.setattr("fastgru.bench.steady._PAIRS", 1)
    monkeypatch.setattr(Sides, "watch", watch)
    model = str(write_model(tmp_path, CASES[1]))
    for what in ([], [model, "--rounds", "1"]):
        found = run("--suite", "steady", "--interval-ms", "2", "--against", str(PYTHON), *what)
        assert found.exit_code == 0, found.output
        assert "bytes kept over 5 pushes" in found.output
        assert "a push every 2 ms: deadlines missed" in found.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--fail-below", "0.99"], "--fail-below is for --against"),
        (["--against", "no-such-python"], "does not exist"),
        (["--interval-ms", "5"], "--interval-ms is for --suite steady"),
        (["--suite", "steady", "--against", str(PYTHON), "--rivals", "torch"], "--rivals is not for --suite steady"),
        (["--against", str(PYTHON.parent)], "is a directory"),
    ],
)
def test_what_makes_no_sense_is_a_usage_error(arguments: list[str], words: str) -> None:
    found = run(*arguments)
    assert found.exit_code == 2
    assert words in found.output


def test_an_interpreter_that_is_none_is_an_error_of_ours(tmp_path: Path) -> None:
    path = tmp_path / "python"
    path.write_text("not a program")
    found = run("--against", str(path))
    assert found.exit_code == 2
    assert "expected a Python interpreter" in found.output
