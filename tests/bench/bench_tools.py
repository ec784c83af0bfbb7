"""Cases of a few units, and what the tests of the bench make of them."""

from __future__ import annotations

from pathlib import Path

from fastgru.bench.cases import Case
from fastgru.bench.measure import Timing
from fastgru.bench.problem import gru_problem

CASES = (
    Case("step", 1, 2, 3, 4),
    Case("sequence", 5, 2, 3, 4),
    Case("sequence", 5, 2, 3, 4, reset_after=False),
    Case("sequence", 6, 3, 2, 4, lengths=True),
    Case("sequence", 4, 2, 3, 4, layers=2, bidirectional=True),
    Case("block", 6, 1, 3, 4),
)


def timing(name: str, median_s: float, setting: str = "1 thread") -> Timing:
    return Timing(name, setting, median_s, 2 * median_s, 0.01, (median_s, median_s))


def write_model(folder: Path, case: Case) -> Path:
    problem = gru_problem(case)
    assert isinstance(problem.onnx, bytes)
    path = folder / "model.onnx"
    path.write_bytes(problem.onnx)
    return path
