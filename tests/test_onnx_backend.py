"""onnx's own backend test suite, through the backend interface."""

from __future__ import annotations

import re
import unittest
import warnings

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.backend.test import BackendTest
from onnx.backend.test.loader import load_model_tests

import fastgru.onnx_backend as backend
from fastgru.errors import ShapeError, UnsupportedModelError
from fastgru.importers.onnx import operators, read_onnx
from fastgru.onnx_backend import FastGRUBackend
from fastgru.reference import run_graph

GRU_CASES = ["batchwise", "bidirectional", "defaults", "reverse", "seq_length", "with_initial_bias"]

# What is left out of the node tests whose operators are all imported: pattern -> reason.
EXCLUDED = {
    r"uint(32|64)|_ui(32|64)_": "uint32 and uint64 are no element types here",
    r"(?i)float(8|6(?!4)|4)|e8m0|e4m3|e5m2": "float8 and smaller types are no element types here",
    r"(U?INT|u?int)[24](_|$)": "integers of 2 and 4 bits are no element types here",
    r"string|STRING": "strings are no element type here",
    r"_training_mode$|^test_training_dropout": "inference only",
    r"^test_(max|average)pool_3d": "windows slide over one or two axes here",
    r"^test_maxpool_with_argmax": "MaxPool gives no Indices here",
    r"^test_conv.*_3d": "windows slide over one or two axes here",
    r"^test_identity_(sequence|opt)$": "sequences and optionals are no values here",
    r"^test_(if_(seq|opt)|loop\d+_seq(_none)?)$": "sequences and optionals are no values here",
    r"^test_scan_sum$": "a Scan has a batch axis, as before opset 9",
    r"^test_not_\dd$": "its files are of opset 1, read are 7 and later",
}

# What is run and refused, but where other numbers come out, rightly: pattern -> reason.
OTHER_NUMBERS = {
    r"^test_resize_downsample_scales_(linear|cubic)_align_corners$": "the stored values take the resized length before"
    " it is rounded down; ONNX's text, PyTorch and ONNX Runtime take the length that comes out",
    r"^test_causal_conv_with_state_silu_fp16_expanded$": "the stored values are rounded to float16 after every node",
    r"^test_dft_inverse": "the stored zeros are the rounding of one float32 FFT, 2e-7, where 1e-7 is allowed",
}


class _Definition:
    def __init__(self, graph, precision):
        self.graph, self.precision = graph, precision

    def run(self, inputs):
        return run_graph(self.graph, inputs, dtype=self.precision)


class DefinitionBackend(FastGRUBackend):
    """The same backend over the definition of every operator instead of the engine."""

    @classmethod
    def open(cls, data, *, precision="float32"):
        return _Definition(read_onnx(data, allow_unread=True), precision)


def _node_cases():
    known = {operator.name for operator in operators()}
    with warnings.catch_warnings():  # of the suite's own making
        warnings.simplefilter("ignore")
        cases = load_model_tests(kind="node")
    return [case for case in cases if {node.op_type for node in case.model.graph.node} <= known]


NODE_CASES = _node_cases()


def _reason(name, reasons=EXCLUDED):
    return next((reason for pattern, reason in reasons.items() if re.search(pattern, name)), None)


def _arrays(values):
    return [numpy_helper.to_array(v) if isinstance(v, TensorProto) else np.asarray(v) for v in values]


def _check(used, case):
    prepared = used.prepare(case.model)
    for inputs, outputs in case.data_sets:
        results = prepared.run(_arrays(inputs))
        BackendTest.assert_similar_outputs(_arrays(outputs), results, rtol=case.rtol, atol=case.atol)


def test_the_gru_cases_of_the_suite_as_the_suite_runs_them():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        suite = BackendTest(FastGRUBackend, __name__).include(r"^test_gru_.*_cpu$")
        case = suite.test_cases["OnnxBackendNodeModelTest"]
    names = [f"test_gru_{name}_cpu" for name in GRU_CASES]
    assert [n for n in dir(case) if n.startswith("test_gru_") and n.endswith("_cpu")] == names
    result = unittest.TestResult()
    unittest.TestSuite(case(name) for name in names).run(result)
    assert not result.errors + result.failures + result.skipped
    assert result.testsRun == 6


RUN = [c for c in NODE_CASES if not _reason(c.name) and not _reason(c.name, OTHER_NUMBERS)]


@pytest.mark.parametrize("case", RUN, ids=lambda c: c.name)
def test_node_by_definition(case):
    _check(DefinitionBackend, case)


def test_nodes_by_engine():
    """The engine runs all that the definitions do, and gives the stored numbers."""
    wrong = []
    for case in RUN:
        try:
            _check(FastGRUBackend, case)
        except Exception as error:
            if case.name == "test_loop11" and "depends on the data" in str(error):
                continue  # a slice that is longer in every iteration
            wrong.append(f"{case.name}: {error!r:.300}")
    print(f"{len(operators())} operators, {len(RUN)} of {len(NODE_CASES)} node tests run")
    assert not wrong


@pytest.mark.parametrize("case", [c for c in NODE_CASES if _reason(c.name, OTHER_NUMBERS)], ids=lambda c: c.name)
def test_node_with_other_numbers(case):
    """So that the list goes when the reason goes."""
    with pytest.raises(AssertionError, match="Mismatched elements"):
        _check(FastGRUBackend, case)


@pytest.mark.parametrize("case", [c for c in NODE_CASES if "align_corners" in c.name], ids=lambda c: c.name)
def test_aligned_corners_are_those_of_onnxruntime(case):
    for inputs, _ in case.data_sets:
        session = onnxruntime.InferenceSession(case.model.SerializeToString(), providers=["CPUExecutionProvider"])
        feeds = {i.name: a for i, a in zip(session.get_inputs(), _arrays(inputs), strict=True)}
        expected = session.run(None, feeds)
        results = FastGRUBackend.prepare(case.model).run(feeds)
        BackendTest.assert_similar_outputs(expected, results, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("case", [c for c in NODE_CASES if _reason(c.name)], ids=lambda c: c.name)
def test_node_that_is_left_out_is_refused(case):
    with pytest.raises(UnsupportedModelError):
        _check(DefinitionBackend, case)


def test_the_list_of_exclusions_is_no_longer_than_it_must_be():
    for pattern in EXCLUDED:
        assert any(re.search(pattern, case.name) for case in NODE_CASES), pattern
    assert sum(not _reason(case.name) for case in NODE_CASES) > 1300


def _tanh_model():
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n"])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n"])
    graph = helper.make_graph([helper.make_node("Tanh", ["x"], ["y"])], "g", [x], [y])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def test_the_module_is_a_backend():
    x = np.linspace(-2, 2, 5, dtype=np.float32)
    model = _tanh_model()
    onnx.checker.check_model(model)
    (y,) = backend.run_model(model, [x])
    np.testing.assert_allclose(y, np.tanh(x), rtol=1e-6)
    outputs = backend.prepare(model, "CPU", precision="float64").run({"x": x})
    assert outputs.y.dtype == np.float32
    np.testing.assert_allclose(outputs.y, np.tanh(x), rtol=1e-6)
    assert backend.is_compatible(model)
    assert backend.supports_device("CPU")
    assert not backend.supports_device("CUDA")
    assert not backend.is_compatible(model, "CUDA")


def test_what_the_backend_refuses():
    model = _tanh_model()
    with pytest.raises(UnsupportedModelError, match="'CUDA'"):
        backend.prepare(model, "CUDA")
    with pytest.raises(TypeError, match="provider"):
        backend.prepare(model, provider="fast")
    with pytest.raises(ShapeError, match="got 2 inputs, expected 1: x"):
        backend.prepare(model).run([np.zeros(1, np.float32)] * 2)
    model.graph.node[0].op_type = "Det"
    assert not backend.is_compatible(model)


def test_run_node():
    node = helper.make_node("Sigmoid", ["a"], ["b"])
    a = np.array([[0.0, 1.0, -1.0]], np.float32)
    expected = 1 / (1 + np.exp(-a))
    np.testing.assert_allclose(backend.run_node(node, [a])[0], expected, rtol=1e-6)
    (b,) = backend.run_node(node, [a], outputs_info=[(np.float32, a.shape)], opset_version=9)
    np.testing.assert_allclose(b, expected, rtol=1e-6)
    with pytest.raises(ShapeError, match="got 0 inputs, expected 1: a"):
        backend.run_node(node, [])


def test_weights_that_come_as_inputs_may_change():
    rng = np.random.default_rng(0)
    node = helper.make_node("GRU", ["x", "W", "R"], ["", "h"], hidden_size=4)
    x = rng.standard_normal((3, 1, 2)).astype(np.float32)
    arrays = [rng.standard_normal(s).astype(np.float32) for s in ((1, 12, 2), (1, 12, 4))]
    infos = [helper.make_tensor_value_info(n, 1, a.shape) for n, a in zip(["x", "W", "R"], [x, *arrays], strict=True)]
    graph = helper.make_graph([node], "g", infos, [helper.make_tensor_value_info("h", 1, [1, 1, 4])])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    prepared = backend.prepare(model)
    (first,) = prepared.run([x, *arrays])
    (second,) = prepared.run([x, *(2 * a for a in arrays)])
    (again,) = prepared.run([x, *arrays])
    assert np.abs(first - second).max() > 1e-3
    np.testing.assert_array_equal(first, again)
    definition = DefinitionBackend.prepare(model).run([x, *arrays])[0]
    assert np.abs(first - definition).max() < 1e-6
    with pytest.raises(ShapeError, match="inputs: missing W"):
        prepared.run({"x": x, "R": arrays[1]})
