"""Every operator of the table, in both precisions, against its definition in float64."""

from __future__ import annotations

import inspect

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from engine_cases import CASES, UNARY, Case, agree, normal
from hypothesis import given, settings
from hypothesis import strategies as st

from fastgru.engine.lowering import LOWERINGS
from fastgru.reference import OPS
from fastgru.simd.target import LANES

PRECISIONS = ("float32", "float64")
SIZES = st.sampled_from([0, 1, 2, 3, 5, 7, LANES["float64"] + 1, LANES["float32"] + 1, 31])
FAST = settings(max_examples=40, deadline=None)


def test_the_engine_has_every_operator_of_the_table():
    assert sorted(LOWERINGS) == sorted(OPS)


@pytest.mark.parametrize("op", OPS)
def test_a_lowering_takes_the_inputs_of_its_definition(op):
    schema = OPS[op].schema
    required, most = len(schema.required_inputs), len(schema.required_inputs) + len(schema.optional_inputs)
    for count in (required, most + (schema.rest is not None)):
        inspect.signature(LOWERINGS[op]).bind(None, None, *range(count))


def test_the_cases_cover_the_table():
    covered = {case.op for cases in CASES.values() for case in cases}
    # The rest is in test_structure (split, shape, range, constant_of_shape) and in the tests of the GRU kernels.
    assert set(OPS) - covered == {"constant_of_shape", "gru", "lstm", "range", "rnn", "shape", "split"}


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("family", CASES)
def test_cases(family, precision):
    failed = []
    for case in CASES[family]:
        try:
            agree(*case.graph(), precision, case.slack)
        except AssertionError as error:
            failed.append(f"{case}: {error}")
    assert not failed, f"{len(failed)} of {len(CASES[family])}:\n" + "\n".join(failed[:5])


def filled(shape, seed):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("precision", PRECISIONS)
@FAST
@given(shape=hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=1), data=st.data())
def test_unary_of_any_shape(precision, shape, data):
    shape = tuple(data.draw(SIZES) for _ in shape)
    kind = data.draw(st.sampled_from(UNARY))
    case = Case("unary", (filled(shape, 1),), {"kind": kind})
    agree(*case.graph(), precision, case.slack)


@pytest.mark.parametrize("precision", PRECISIONS)
@FAST
@given(
    shapes=hnp.mutually_broadcastable_shapes(num_shapes=3, max_dims=5, min_side=0, max_side=9),
    kind=st.sampled_from(["add", "sub", "mul", "div", "min", "max"]),
)
def test_broadcasting(precision, shapes, kind):
    a, b, c = (filled(shape, seed) for seed, shape in enumerate(shapes.input_shapes))
    agree(*Case("binary", (a, b), {"kind": kind}).graph(), precision)
    agree(*Case("where", (c > 0, a, b)).graph(), precision)
    agree(*Case("compare", (a.round(), b.round()), {"kind": "less"}).graph(), precision)


@pytest.mark.parametrize("precision", PRECISIONS)
@FAST
@given(M=SIZES, K=SIZES, O=SIZES, stack=st.lists(st.integers(0, 3), max_size=2), constant=st.booleans())
def test_products_of_any_size(precision, M, K, O, stack, constant):
    a = filled((*stack, M, K), 1)
    b = filled((K, O) if constant else (*stack, K, O), 2)
    agree(*Case("matmul", (a, b), constant=(1,) if constant else ()).graph(), precision, 10)


@pytest.mark.parametrize("precision", PRECISIONS)
@FAST
@given(
    sizes=st.lists(SIZES.filter(bool), min_size=1, max_size=3),
    axis=st.integers(-3, 2),
    op=st.sampled_from(["softmax", "log_softmax", "layer_norm", "reduce", "arg", "cumsum"]),
)
def test_rows_of_any_length(precision, sizes, axis, op):
    axis = axis % len(sizes)
    attrs = {
        "reduce": {"kind": "mean", "axes": [axis], "keepdims": False},
        "arg": {"kind": "max", "axis": axis, "keepdims": True, "select_last": False},
        "cumsum": {"axis": axis, "exclusive": False, "reverse": False},
        "layer_norm": {"axis": axis, "epsilon": 1e-3},
    }.get(op, {"axis": axis})
    agree(*Case(op, (filled(sizes, 3),), attrs).graph(), precision, 10 if op == "layer_norm" else 1)


ROWWISE = {
    "softmax": {"axis": -1},
    "log_softmax": {"axis": -1},
    "layer_norm": {"axis": 1, "epsilon": 1e-5},
    "reduce": {"kind": "sum", "axes": [1], "keepdims": True},
    "cumsum": {"axis": 1, "exclusive": False, "reverse": False},
}


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("op", ROWWISE)
def test_a_row_has_the_same_bits_in_any_company(op, precision):
    x = normal(13, 77)
    x[4] = np.nan
    case = Case(op, (x,), ROWWISE[op])
    all_rows = run(case, precision)
    for n in (0, 3, 12):
        np.testing.assert_array_equal(run(Case(op, (x[n : n + 1],), ROWWISE[op]), precision)[0], all_rows[n])


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("constant", [(), (1,)])
def test_a_row_of_a_product_has_the_same_bits_in_any_company(precision, constant):
    a, b = normal(29, 301), normal(301, 53)
    a[5] = np.nan
    all_rows = run(Case("matmul", (a, b), constant=constant), precision)
    for rows in (slice(0, 1), slice(3, 5), slice(5, 6), slice(7, 20)):
        np.testing.assert_array_equal(run(Case("matmul", (a[rows], b), constant=constant), precision), all_rows[rows])
    assert np.isnan(all_rows[5]).all()
    assert not np.isnan(np.delete(all_rows, 5, 0)).any()


def run(case, precision):
    from fastgru.engine import Executable

    graph, feeds = case.graph()
    return Executable(graph, precision=precision).run(feeds)["y0"]
