"""Small results and problems for the tests of the bench; nothing in them depends on a clock."""

from __future__ import annotations

import pytest
from bench_tools import timing

from fastgru.bench.bounds import Bound, Level, Peaks
from fastgru.bench.cases import Case
from fastgru.bench.measure import Plan, Ratio
from fastgru.bench.result import Result, Row


@pytest.fixture
def quick_plan() -> Plan:
    """As short as a measurement can be."""
    return Plan(rounds=2, turn_s=1e-4, warm_s=0.0, settle_s=0.0)


@pytest.fixture
def peaks() -> Peaks:
    levels = (Level("L1", 1e4, 4e11), Level("L2", 1e6, 2e11), Level("memory", 1e15, 1e10))
    return Peaks(1, 1e11, levels)


@pytest.fixture
def result(peaks: Peaks) -> Result:
    """Rows of every kind: won, lost, a rival that cannot, a refusal, a tiny net, a name that HTML has to escape."""
    machine = {
        "date": "2026-01-02 03:04 UTC",
        "cpu": 'CPU <&> "model"',
        "cpu_family": "x",
        "cores": 2,
        "load": 0.5,
        "target": "x86-64-v4+vnni",
        "forced": None,
        "cache_bytes": {"l1d": 32768, "l2": 1048576, "l3": 33554432},
        "system": "Linux x86_64",
        "python": "3.11.0",
        "versions": {"fastgru": "0.1", "onnxruntime": "1.2", "torch": None},
    }
    rows = []
    for H, own, rival in ((16, 1e-6, 5e-6), (64, 2e-6, 6e-6), (256, 2e-5, 1e-5), (1024, 4e-4, 5e-4)):
        case = Case("step", 1, 1, H, H)
        rows.append(
            Row(
                case.title,
                case.slug,
                1,
                case,
                timing("fastgru", own),
                {"onnxruntime": timing("onnxruntime", rival, "I/O binding, 1 thread")},
                {"onnxruntime": Ratio(rival / own, rival / own, rival / own)},
                {"torch": "not installed"},
                None,
                Bound(own / 2, "L2", 1e3, 1e3),
            )
        )
    for N in (1, 8):
        case = Case("sequence", 50, N, 32, 32)
        times = (timing("fastgru", 1e-4 * N), timing("onnxruntime", 2e-4 * N))
        ratios = {"onnxruntime": Ratio(2.0, 1.9, 2.1)}
        bound = Bound(5e-5 * N, "fma", 1, 1)
        rows.append(Row(case.title, case.slug, 1, case, times[0], {"onnxruntime": times[1]}, ratios, {}, None, bound))
    case = Case("block", 1000, 1, 8, 8)
    block = (
        timing("fastgru", 5e-5),
        {"onnxruntime": timing("onnxruntime", 5e-3)},
        {"onnxruntime": Ratio(100, 90, 110)},
    )
    rows.append(Row(case.title, case.slug, 1, case, *block))
    rows.append(Row("a <model>", "model", 2, None, None, trouble="refused: 2 threads & more"))
    tail_s = [[2.0, 1e-6], [4.0, 1.1e-6], [10.0, 2e-6], [20.0, 9e-6]]
    paced = {
        "pushes": 20,
        "interval_s": 0.01,
        "median_s": 1e-6,
        "p99_s": 8e-6,
        "largest_s": 9e-6,
        "missed": 3,
        "woken_late_s": 1e-4,
        "tail_s": tail_s,
    }
    tail = {"pushes": 10, "median_s": 1e-6, "p99": 1.1, "p999": 1.5, "worst": 9.0, "tail_s": tail_s}
    steady = {
        "case": "step-h64",
        "allocations": {"pushes": 10, "kept_bytes": 0, "passing_bytes": 100, "numba_allocations": 0},
        "tails": [{"collector": on, **tail} for on in (True, False)],
        "paced": {"fastgru": paced, "onnxruntime": paced},
        "absent": {"torch": "not installed"},
        "first": {"starts": 3, "first_s": 2e-4, "largest_s": 3e-4, "later_s": 1e-6, "warmed_s": 5e-6},
        "denormals": {"ratio": 1.01, "low": 1.0, "high": 1.02},
        "cold": {
            "medians_s": {"fastgru": 0.5},
            "least_s": {"fastgru": 0.4},
            "absent": {"onnxruntime": "not installed"},
            "first_compile_s": 5.0,
        },
    }
    return Result("full", machine, (peaks,), tuple(rows), 12.5, steady)
