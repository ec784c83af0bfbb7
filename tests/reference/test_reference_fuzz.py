"""Whatever inputs and attributes a damaged file gives a node, only errors of this package's tree come out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastgru.errors import FastGRUError
from fastgru.graph import DTYPES, Node
from fastgru.reference import OPS, evaluate
from fastgru.reference.operator import numpy_dtype

KINDS = {
    "activation": ("tanh", "elu", "hard_sigmoid", "softplus", "thresholded_relu"),
    "arg": ("max", "min"),
    "binary": ("add", "div", "pow", "mod", "fmod", "min"),
    "compare": ("equal", "less"),
    "logical": ("and", "xor"),
    "reduce": ("sum", "mean", "max", "prod", "any", "l2", "log_sum_exp"),
    "pool": ("max", "average", "sum"),
    "unary": ("abs", "exp", "erf", "sign", "not", "selu", "gelu", "bitwise_not", "isnan"),
}
LOWP = st.integers(-4, 4)
ODD = st.sampled_from([None, "", "constant", 2**40, -(2**70), float("nan"), float("inf"), [], [[1]], {}, {"kind": 1}])
VALUES = {
    "axis": LOWP,
    "axes": st.lists(LOWP, max_size=3),
    "perm": st.permutations([0, 1, 2]) | st.lists(LOWP, max_size=3),
    "sizes": st.lists(LOWP, max_size=3),
    "dtype": st.sampled_from(DTYPES),
    "to": st.sampled_from(DTYPES),
    "mode": st.sampled_from(["constant", "reflect", "edge", "wrap", "nearest", "linear", "cubic"]),
    "equation": st.sampled_from(
        ["ij,jk->ik", "i...,i...", "ii->i", "...->...", "a,b->ab", "ij->k", "i->...i", "(", ""]
    ),
    "coordinates": st.sampled_from(["half_pixel", "align_corners", "tf_crop_and_resize"]),
    "keepdims": st.booleans(),
    "kernel": st.lists(LOWP, max_size=3),
    "strides": st.lists(LOWP, max_size=3),
    "dilations": st.lists(LOWP, max_size=3),
    "pads": st.lists(LOWP, max_size=4) | st.just("same_upper"),
    "output_padding": st.lists(LOWP, max_size=3),
    "output_shape": st.lists(LOWP, max_size=3) | st.none(),
    "clamp": st.lists(LOWP | st.none(), max_size=2),
    "spec": st.fixed_dictionaries({"input_size": LOWP, "hidden_size": LOWP}),
}


@st.composite
def arrays(draw):
    dtype = draw(st.sampled_from(["float32", "float64", "int64", "int64", "bool", "uint8", "bfloat16"]))
    shape = tuple(draw(st.lists(st.integers(0, 4), max_size=3)))
    values = draw(st.lists(st.integers(-5, 100), min_size=1, max_size=6))
    return np.resize(np.array(values), shape).astype(numpy_dtype(dtype))


@st.composite
def nodes(draw, op):
    schema = OPS[op].schema
    most = len(schema.required_inputs) + len(schema.optional_inputs) + (9 if schema.rest else 0)
    least = len(schema.required_inputs)
    inputs = draw(st.lists(arrays() if draw(st.booleans()) else arrays() | st.none(), min_size=least, max_size=most))
    attrs = {}
    for name in schema.required_attrs + schema.optional_attrs:
        usual = st.sampled_from(KINDS[op]) if name == "kind" else VALUES.get(name, LOWP)
        if name in schema.required_attrs or draw(st.booleans()):
            attrs[name] = draw(st.one_of(usual, usual, usual, ODD))
    return Node(op, tuple(f"x{i}" for i in range(len(inputs))), ("y",), attrs, "here"), inputs


@pytest.mark.parametrize("op", OPS)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_nothing_else_escapes(op, data):
    node, inputs = data.draw(nodes(op))
    message, outputs = "'here'", ()
    try:
        outputs = evaluate(node, inputs, max_elements=10_000)
    except FastGRUError as error:
        message = str(error)
    assert "'here'" in message
    assert all(isinstance(y, np.ndarray) and y.size <= 10_000 for y in outputs)
