"""The registry against the schemas of the onnx package: no version of an operator is taken for another."""

from __future__ import annotations

import pytest
from onnx import defs

from fastgru.importers.onnx import NEWEST_OPSET, OLDEST_OPSET, operators
from fastgru.reference import OPS

SCHEMAS: dict[str, list] = {}
for _schema in defs.get_all_schemas_with_history():
    if _schema.domain == "":
        SCHEMAS.setdefault(_schema.name, []).append(_schema)


@pytest.mark.parametrize("operator", operators(), ids=lambda o: o.name)
def test_versions_and_arity(operator):
    history = sorted(SCHEMAS[operator.name], key=lambda schema: schema.since_version)
    known = min(NEWEST_OPSET, defs.onnx_opset_version())
    first = max((s.since_version for s in history if s.since_version <= OLDEST_OPSET), default=0)
    expected = [s.since_version for s in history if first <= s.since_version <= known]
    assert [v for v in operator.versions if v <= known] == expected
    in_reach = [s for s in history if s.since_version in expected]
    assert operator.min_inputs == min(s.min_input for s in in_reach)
    most = max(s.max_input for s in in_reach)
    assert operator.max_inputs == (None if most > 1000 else most)
    most = max(s.max_output for s in in_reach)  # MaxPool has a second one from version 8 on
    assert operator.max_outputs == (None if most > 1000 else most)


def test_the_newest_opset_is_that_of_the_onnx_package_or_later():
    assert defs.onnx_opset_version() <= NEWEST_OPSET


def test_every_operator_can_be_printed():
    assert [o.name for o in operators()] == sorted(o.name for o in operators())
    for operator in operators():
        assert OLDEST_OPSET <= operator.since <= NEWEST_OPSET
        assert operator.version_for(NEWEST_OPSET) == operator.versions[-1]
        assert all(isinstance(text, str) for text in (*operator.constants.values(), operator.limits))
    assert "gru" in OPS
