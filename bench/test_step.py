"""One frame through a stream."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fastgru.bench.cases import SUITES, Case

_CASES = [case for case in SUITES["full"] if case.kind == "step"]


@pytest.mark.parametrize("case", _CASES, ids=lambda case: case.slug)
def test_step(measure: Callable[[Case], None], case: Case) -> None:
    measure(case)
