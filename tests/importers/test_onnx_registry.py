"""The registry against the schemas of the onnx package: no version of an operator is taken for another."""

from __future__ import annotations

import pytest
from onnx import TensorProto, defs, helper

import fastgru
from fastgru.engine.lowering import lowering
from fastgru.importers.onnx import NEWEST_OPSET, OLDEST_OPSET, operators
from fastgru.importers.onnx.registry import OPERATORS
from fastgru.importers.onnx.registry import operator as register
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


@pytest.mark.parametrize("name", ["Tanh", "GRU"])
def test_an_operator_is_registered_once(name):
    with pytest.raises(ValueError, match=rf"^{name} is registered already, by fastgru\.importers\.onnx\."):
        register(name, versions=(7,), inputs=(1, 1))(lambda node, build: node.input(0))
    with pytest.raises(ValueError, match=r"^gru is registered already, by fastgru\.engine\.ops\.gru"):
        lowering("gru")(lambda builder, node, *values: [])


def test_a_function_that_returns_no_value_is_named_by_its_node():
    nothing = register("Nothing", versions=(1,), inputs=(1, 1), domain="of.a.test")
    node = helper.make_node("Nothing", ["x"], ["y"], name="here", domain="of.a.test")
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [3]) for name in "xy")
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("of.a.test", 1)]
    file = helper.make_model(helper.make_graph([node], "g", [x], [y]), opset_imports=opsets).SerializeToString()
    nothing(lambda node, build: None)
    try:
        with pytest.raises(TypeError, match=r"here.* its function returned NoneType, expected a Value"):
            fastgru.load(file)
    finally:
        del OPERATORS.entries["of.a.test", "Nothing"]
