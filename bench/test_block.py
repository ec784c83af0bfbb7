"""Many frames through a stream in one call; the rivals get one call per frame."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fastgru.bench.cases import SUITES, Case

_CASES = [case for case in SUITES["full"] if case.kind == "block"]


@pytest.mark.parametrize("case", _CASES, ids=lambda case: case.slug)
def test_block(measure: Callable[[Case], None], case: Case) -> None:
    measure(case)
