"""`fastgru doctor`."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

from click.testing import Result

from fastgru.engine.faster import HERE, TABLE
from fastgru.kernels.table import table
from fastgru.simd.target import TARGET, TARGETS


def test_the_machine_is_described(invoke: Callable[..., Result]) -> None:
    result = invoke("doctor")
    assert result.exit_code == 0
    found = json.loads(invoke("doctor", "--json").stdout)
    assert found["target"]["name"] == TARGET.name
    assert TARGET.name in result.stdout
    assert found["cache"]["directory"] in result.stdout
    assert found["packages"]["numba"] in result.stdout
    assert len(found["kernels"]) == len(table()) > 0
    assert {row["op"] for row in found["kernels"]} == {op for op, *_ in table()}
    assert "gru" in result.stdout
    assert found["auto"]["row"] == HERE
    for precision, least in found["auto"]["least"].items():
        assert least == (None if TABLE[precision][HERE] is None else str(TABLE[precision][HERE]))
        assert (least or "for no weights") in " ".join(result.stdout.split())
    higher = [target for target in TARGETS[TARGETS.index(TARGET) + 1 :] if target[:2] == TARGET[:2]]
    above = [target.name for target in higher if not target.emulated]
    assert list(found["target"]["missing"]) == above
    for name in above:
        assert re.search(rf"{re.escape(name)} +this CPU has no ", result.stdout)
    assert {row["target"] for row in found["kernels"]} <= {target.short for target in TARGET.levels}
