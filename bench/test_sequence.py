"""Whole sequences, one layer, one direction."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fastgru.bench.cases import SUITES, Case

_CASES = [case for case in SUITES["full"] if case.kind == "sequence" and case.layers == 1 and not case.lengths]


@pytest.mark.parametrize("case", _CASES, ids=lambda case: case.slug)
def test_sequence(measure: Callable[[Case], None], case: Case) -> None:
    measure(case)
