"""The table of cases."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import pytest

from fastgru.bench.cases import RTNEURAL_NS, SUITES, Case, find_cases
from fastgru.bench.result import read_as


@pytest.mark.parametrize("name", sorted(SUITES))
def test_slugs_are_unique_and_tell_cases_apart(name: str) -> None:
    slugs = [case.slug for case in SUITES[name]]
    assert len(set(slugs)) == len(slugs)


def test_full_holds_every_case_of_quick() -> None:
    assert set(SUITES["quick"]) <= set(SUITES["full"])


def test_full_covers_the_sizes_that_are_promised() -> None:
    cases = SUITES["full"]
    steps = {case.H for case in cases if case.kind == "step" and case.I == case.H and case.N == 1}
    assert steps >= {8, 16, 32, 64, 128, 256, 512, 1024}
    assert {case.H for case in cases if case.kind == "block" and case.T == 1000} == set(RTNEURAL_NS)
    assert {case.I for case in cases} >= {1, 40, 257}
    assert {case.N for case in cases} >= {1, 3, 5, 8, 17, 32, 128}
    assert {case.H for case in cases} >= {100, 200, 300, 650}
    assert any(case.lengths for case in cases)
    assert any(not case.reset_after for case in cases)
    assert any(case.layers == 3 and case.bidirectional for case in cases)
    assert {case.N for case in cases if case.T == 50 and case.H == case.I == 256} >= {1, 2, 4, 8, 16, 32, 64, 128}
    assert len({case.slug for case in cases}) == len(cases)


def test_the_lower_precisions_are_measured_in_the_same_cells() -> None:
    cells = {
        p: [replace(c, precision="float32") for c in SUITES["precision"] if c.precision == p]
        for p in ("int8", "bfloat16")
    }
    assert len(SUITES["precision"]) == len(cells["int8"]) + len(cells["bfloat16"])
    assert [c.slug for c in cells["int8"]] == [c.slug for c in cells["bfloat16"]]


def test_a_precision_that_is_not_known_is_refused() -> None:
    with pytest.raises(ValueError, match="precision is 'int4'"):
        replace(SUITES["full"][0], precision="int4")


@pytest.mark.parametrize("case", [*SUITES["full"], *SUITES["precision"]], ids=lambda case: case.slug)
def test_a_case_survives_json(case: Case) -> None:
    assert read_as(Case, json.loads(json.dumps(asdict(case)))) == case


def test_every_field_shows_in_slug_and_title() -> None:
    case = Case("sequence", 7, 2, 3, 4)
    changed = [
        replace(case, T=8), replace(case, N=1), replace(case, I=5), replace(case, H=5), replace(case, layers=2),
        replace(case, bidirectional=True), replace(case, reset_after=False), replace(case, lengths=True),
        replace(case, precision="float64"), Case("step", 1, 2, 3, 4), Case("block", 7, 2, 3, 4),
    ]  # fmt: skip
    assert len({c.slug for c in (case, *changed)}) == len({c.title for c in (case, *changed)}) == len(changed) + 1


def test_a_filter_is_a_part_of_the_name_or_a_pattern() -> None:
    cases = [Case("step", 1, 1, 4, 4), Case("sequence", 5, 1, 4, 4), Case("sequence", 5, 2, 4, 4)]
    assert find_cases(cases, None) == cases
    assert find_cases(cases, "sequence") == cases[1:]
    assert find_cases(cases, "*n2*") == cases[2:]
    assert find_cases(cases, "no such") == []


@pytest.mark.parametrize(
    "fields",
    [{"kind": "other"}, {"kind": "step", "T": 2}, {"kind": "block", "lengths": True}, {"kind": "step", "layers": 2}],
)
def test_a_case_that_makes_no_sense_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"expected|one layer"):
        Case(**{"kind": "sequence", "T": 1, "N": 1, "I": 2, "H": 2} | fields)  # type: ignore[arg-type]
