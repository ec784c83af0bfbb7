"""Several layers, both directions."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fastgru.bench.cases import SUITES, Case

_CASES = [case for case in SUITES["full"] if case.layers > 1]


@pytest.mark.parametrize("case", _CASES, ids=lambda case: case.slug)
def test_stack(measure: Callable[[Case], None], case: Case) -> None:
    measure(case)
