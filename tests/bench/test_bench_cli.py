"""`fastgru bench` from the command line to its files."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from bench_tools import CASES, write_model
from click.testing import CliRunner

from fastgru.bench.bounds import Level, Peaks
from fastgru.bench.cases import SUITES
from fastgru.bench.model_file import parse_shapes
from fastgru.bench.result import Result
from fastgru.bench.rivals import RIVALS
from fastgru.cli import bench, bench_request, main
from fastgru.errors import ShapeError

SHORT = ["--rounds", "1", "--turn-ms", "0.1"]


@pytest.fixture(autouse=True)
def no_peaks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measuring what the machine can do takes seconds."""
    made = Peaks(1, 1e11, (Level("memory", 1e15, 1e10),))
    monkeypatch.setattr("fastgru.bench.suite.measure_peaks", lambda n: made)


def run(*arguments: str) -> str:
    found = CliRunner().invoke(main, ["bench", *arguments])
    assert found.exit_code == 0, found.output
    return found.output


def test_the_names_of_the_command_are_those_of_the_package() -> None:
    assert set(bench_request.RIVALS) == set(RIVALS)
    assert set(bench._SUITES) == {*SUITES, "models", "steady"}


def test_a_case_with_all_its_files(tmp_path: Path) -> None:
    page, data = tmp_path / "page.html", tmp_path / "out.json"
    files = ["--json", str(data), "--html", str(page)]
    output = run("--case", "step-h64", "--rivals", "onnxruntime", *files, *SHORT)
    assert "step N=1 H=64" in output
    assert "step N=1 H=64" in page.read_text()
    (row,) = Result.from_json(data.read_text()).rows
    assert row.slug == "step-h64"
    assert row.ours is not None


def test_a_model(tmp_path: Path) -> None:
    output = run(str(write_model(tmp_path, CASES[0])), "--rivals", "none", *SHORT)
    assert "model.onnx, a push of x (1, 2, 3)" in output
    assert "1 thread: the time of one call\n" in output  # without a rival, and without the spread of one round
    assert "spread" not in output


def test_the_list_is_that_of_the_suite() -> None:
    assert run("--suite", "full", "--list").split() == [case.slug for case in SUITES["full"]]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--rivals", "nobody"],
        ["--threads", "0"],
        ["--threads", "1,x"],
        ["--threads", "1,2", "--spin-us", "-1"],
        ["--spin-us", "50"],
        ["--threads", "2", "--spin-us", "50", "--against", sys.executable],
        ["--case", "no such case"],
        ["--shape", "N=1"],
        ["--suite", "other"],
        ["--rounds", "0"],
        ["no-such-file.onnx"],
    ],
)
def test_what_makes_no_sense_is_a_usage_error(arguments: list[str]) -> None:
    found = CliRunner().invoke(main, ["bench", *arguments])
    assert found.exit_code == 2
    assert "Error" in found.output


def test_a_rival_that_is_named_has_to_be_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    result = CliRunner().invoke(main, ["bench", "--rivals", "onnxruntime"])
    assert result.exit_code == 2
    assert "--rivals onnxruntime: it is not installed; pip install onnxruntime" in result.stderr


def test_torch_reads_no_model_file(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"")
    result = CliRunner().invoke(main, ["bench", str(tmp_path / "model.onnx"), "--rivals", "torch"])
    assert result.exit_code == 2
    assert "--rivals torch: PyTorch reads no model file" in " ".join(result.stderr.split())


def test_a_size_that_is_given_twice_is_an_error() -> None:
    with pytest.raises(ShapeError, match="'T' has a size already"):
        parse_shapes(["T=1", "T=100"])
