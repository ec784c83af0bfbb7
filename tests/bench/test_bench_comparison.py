"""When a cell has changed, on made-up ratios; when a repeat has enough pairs; the mean."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from bench_tools import timing

from fastgru.bench import suite
from fastgru.bench.comparison import Comparison, Repeat, geometric_mean
from fastgru.bench.measure import Ratio
from fastgru.bench.result import Row, read_as
from fastgru.bench.rivals.other import OTHER

STEADY = (0.99, 1.0, 1.01)
QUICKER = (1.09, 1.10, 1.11)
SLOWER = (0.89, 0.90, 0.91)


def comparison(*repeats: tuple[float, ...]) -> Comparison:
    return Comparison(tuple(Repeat(ratios) for ratios in repeats), same_bits=True)


@pytest.mark.parametrize(
    ("ratios", "change"),
    [
        (STEADY, 0),
        (QUICKER, 1),
        (SLOWER, -1),
        ((1.015, 1.015, 1.015), 0),  # less than two percent
        ((0.985, 0.985, 0.985), 0),
        ((1.03, 1.03, 1.03), 1),
        ((0.8, 1.1, 1.4), 0),  # less than the spread
        ((1.1, 1.1, 1.1, 1.1, 5.0), 1),  # one pair that had no luck
    ],
)
def test_a_repeat_shows_a_change_beyond_its_spread_and_the_least(ratios: tuple[float, ...], change: int) -> None:
    assert Repeat(ratios).change == change


@pytest.mark.parametrize(
    ("repeats", "decided", "verdict"),
    [
        ([STEADY], True, "same"),
        ([QUICKER], False, "same"),
        ([QUICKER, STEADY], True, "same"),
        ([QUICKER, SLOWER], True, "same"),
        ([SLOWER, SLOWER], False, "same"),
        ([SLOWER, SLOWER, STEADY], True, "same"),
        ([SLOWER, SLOWER, SLOWER], True, "slower"),
        ([QUICKER, QUICKER, QUICKER], True, "faster"),
    ],
)
def test_three_repeats_have_to_agree(repeats: list[tuple[float, ...]], decided: bool, verdict: str) -> None:
    found = comparison(*repeats)
    assert (found.decided, found.verdict) == (decided, verdict)
    assert read_as(Comparison, json.loads(json.dumps(asdict(found)))) == found


def test_the_ratio_is_the_mean_of_the_repeats_and_the_spread_the_widest() -> None:
    found = comparison((1.0, 2.0, 3.0), (8.0, 8.0, 8.0))
    assert found.ratio == pytest.approx(4.0)
    assert found.spread == pytest.approx(0.5)


def test_a_mean_of_ratios_is_geometric() -> None:
    assert geometric_mean([0.5, 2.0]) == pytest.approx(1.0)
    with pytest.raises(ValueError, match="no ratio"):
        geometric_mean([])


@pytest.mark.parametrize(
    ("count", "spread", "elapsed_s", "enough"),
    [
        (4, 0.0, 1.0, False),
        (5, 0.0, 1.0, True),
        (5, 0.2, 1.0, False),
        (2, 0.0, 99.0, False),
        (3, 0.0, 6.0, True),
        (3, 0.2, 6.0, False),
        (3, 0.2, 16.0, True),
    ],
)
@pytest.mark.parametrize("middle", [0.5, 1.0, 2.0])
def test_a_repeat_ends_by_its_spread_and_its_time_alone(
    count: int, spread: float, elapsed_s: float, enough: bool, middle: float
) -> None:
    ratios = [middle * (1 + spread * (k / (count - 1) - 0.5)) for k in range(count)]
    assert suite._enough(ratios, elapsed_s) is enough


class FakeSides:
    """Counts the pairs of processes that would have been started."""

    started = 0

    def __init__(self, python: Path) -> None:
        FakeSides.started += 1

    def __enter__(self) -> FakeSides:
        return self

    def __exit__(self, *_: object) -> None: ...


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    monkeypatch.setattr(FakeSides, "started", 0)
    monkeypatch.setattr(suite, "Sides", FakeSides)
    return lambda: FakeSides.started


def row_of(ratio: float, *, same_bits: bool = True) -> Row:
    ours, theirs = timing("fastgru", 1.0), replace(timing(OTHER, ratio), rounds=(ratio, ratio))
    ratios = {OTHER: Ratio(ratio, ratio, ratio)}
    return Row("a", "a", 1, None, ours, {OTHER: theirs}, ratios, other=Comparison.of(ratio, same_bits))


def test_every_sample_is_of_new_processes_and_no_change_ends_it(started: Callable[[], int]) -> None:
    seen: list[bool] = []

    def measure(_: object, first: bool) -> Row:
        seen.append(first)
        return row_of(1.0)

    row = suite.compare(Path("python"), measure)
    assert row.other == comparison((1.0,) * 5)
    assert started() == 5
    assert seen == [True, *[False] * 4]
    assert row.rivals[OTHER].rounds == (1.0,) * 10


def test_a_change_is_looked_at_three_times(started: Callable[[], int]) -> None:
    row = suite.compare(Path("python"), lambda _, first: row_of(0.5, same_bits=first))
    assert row.other is not None
    assert row.other.verdict == "slower"
    assert not row.other.same_bits
    assert started() == 15


def test_what_cannot_be_compared_ends_it(started: Callable[[], int]) -> None:
    absent = Row("a", "a", 1, None, timing("fastgru", 1.0), absent={OTHER: "refused"})
    assert suite.compare(Path("python"), lambda *_: absent) is absent
    assert started() == 1
