"""Files that are damaged, contradictory or out to harm: an error of the tree, soon and in little memory."""

from __future__ import annotations

import tracemalloc

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from onnx_build import gru_arrays, gru_model, make_model

import fastgru
from fastgru.errors import FastGRUError, InvalidModelError, ShapeError, UnreadTensorsError, UnsupportedModelError
from fastgru.importers.onnx import read_onnx
from fastgru.reference import run_graph

X = np.ones((2, 3), np.float32)
Node = helper.make_node


def read(model, **options):
    return read_onnx(model.SerializeToString(), **options)


def small_gru(**more):
    feeds = {"x": np.zeros((3, 2, 3), np.float32)}
    return gru_model(feeds, gru_arrays(np.random.default_rng(0), I=3, H=4, D=1), **more)


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ([Node("Tanh", ["nowhere"], ["y"], name="n")], "'n' .* reads 'nowhere', which is missing"),
        (
            [
                Node("Add", ["x", "b"], ["a"], name="first"),
                Node("Tanh", ["a"], ["b"], name="second"),
                Node("Tanh", ["b"], ["y"]),
            ],
            "in a cycle: 'first', 'second'$",
        ),
        ([Node("Add", ["x", "y"], ["y"], name="own")], "in a cycle: 'own'$"),
        ([Node("Tanh", ["x"], ["y"]), Node("Sin", ["x"], ["y"], name="twice")], "'twice' .* 'y' a second time"),
        ([Node("Tanh", ["x"], ["x"]), Node("Tanh", ["x"], ["y"])], "'x' a second time"),
        ([Node("Tanh", ["x"], ["z"])], "output 'y' is missing"),
    ],
)
def test_names_that_do_not_fit(nodes, message):
    with pytest.raises(InvalidModelError, match=message):
        read(make_model(nodes, {"x": X}, ["y"]))


def test_initializers_that_nobody_reads():
    model = small_gru()
    model.graph.initializer.append(numpy_helper.from_array(X, "left_over"))
    model.graph.node.append(Node("Tanh", ["of_dead_node"], ["dead"]))
    model.graph.initializer.append(numpy_helper.from_array(X, "of_dead_node"))
    with pytest.raises(UnreadTensorsError, match=r"2 initializer.*'left_over', 'of_dead_node'"):
        read(model)
    assert read(model, allow_unread=True).nodes


def _initializer(**fields):
    model = make_model([Node("Add", ["x", "c"], ["y"])], {"x": X}, ["y"], {"c": X})
    tensor = model.graph.initializer[0]
    tensor.Clear()
    tensor.name = "c"
    tensor.data_type = fields.pop("data_type", TensorProto.FLOAT)
    tensor.dims.extend(fields.pop("dims", [2, 3]))
    for name, value in fields.items():
        if isinstance(value, list):
            getattr(tensor, name).extend(value)
        else:
            setattr(tensor, name, value)
    return model


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"raw_data": bytes(23)}, "23 bytes of data, expected 24"),
        ({"raw_data": b""}, "0 bytes of data, expected 24"),
        ({"float_data": [1.0] * 5}, "5 elements, expected 6"),
        ({}, "0 elements, expected 6"),
        ({"dims": [-2, 3], "raw_data": bytes(24)}, "sizes of at least 0"),
        ({"dims": [1 << 40, 1 << 40], "raw_data": bytes(24)}, "24 bytes of data"),
        ({"dims": [1] * 60, "raw_data": bytes(4)}, "at most 32"),
        ({"data_type": 99, "raw_data": bytes(24)}, "element type 99"),
        ({"data_type": 0, "raw_data": bytes(24)}, "element type 0"),
        ({"data_type": TensorProto.INT8, "int32_data": [1, 2, 3, 4, 5, 600]}, "does not fit int8"),
        ({"data_type": TensorProto.DOUBLE, "float_data": [1.0] * 6}, "0 elements"),
    ],
)
def test_initializers_that_contradict_themselves(fields, message):
    with pytest.raises(InvalidModelError, match=message) as caught:
        read(_initializer(**fields))
    assert "initializer 'c'" in str(caught.value)


@pytest.mark.parametrize("data_type", [TensorProto.STRING, TensorProto.COMPLEX64, TensorProto.UINT64, TensorProto.INT4])
def test_element_types_that_are_not_implemented(data_type):
    with pytest.raises(UnsupportedModelError, match=TensorProto.DataType.Name(data_type)):
        read(_initializer(data_type=data_type, raw_data=bytes(24)))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_as_bits_in_int32_data(dtype):
    code, bits = (TensorProto.FLOAT16, 0x3E00) if dtype == "float16" else (TensorProto.BFLOAT16, 0x3FC0)
    model = _initializer(data_type=code, int32_data=[bits] * 6)
    for info in (model.graph.input[0], model.graph.output[0]):
        info.type.tensor_type.elem_type = code
    graph = read(model)
    assert graph.constants["c"].dtype.name == dtype
    assert (graph.constants["c"].astype(np.float32) == 1.5).all()


HUGE = np.array([1 << 20, 1 << 20])
BOMBS = {
    "ConstantOfShape": [Node("ConstantOfShape", ["huge"], ["y"])],
    "Expand": [Node("Expand", ["one", "huge"], ["y"])],
    "Tile": [Node("Tile", ["one", "huge"], ["y"])],
    "Pad": [Node("Concat", ["huge", "huge"], ["p"], axis=0), Node("Pad", ["one", "p"], ["y"])],
    "Range": [Node("Range", ["zero", "far", "step"], ["i"]), Node("Cast", ["i"], ["y"], to=1)],
    "outer sum": [Node("Add", ["column", "row"], ["y"])],
    "outer product": [Node("MatMul", ["column", "row"], ["y"])],
    "doubling": [Node("Concat", [f"d{i}", f"d{i}"], [f"d{i + 1}"], axis=0) for i in range(40)]
    + [Node("Identity", ["d40"], ["y"])],
    "many copies": [Node("Neg", [f"n{i}"], [f"n{i + 1}"]) for i in range(5000)] + [Node("Neg", ["n5000"], ["y"])],
    "gather": [
        Node("ConstantOfShape", ["many"], ["ids"], value=helper.make_tensor("v", 7, [1], [0])),
        Node("Gather", ["row", "ids"], ["y"]),
    ],
}
BOMB_CONSTANTS = {
    "huge": HUGE,
    "one": np.ones((1, 1), np.float32),
    "zero": np.int64(0),
    "far": np.int64(1 << 60),
    "step": np.int64(1),
    "column": np.ones((100_000, 1), np.float32),
    "row": np.ones((1, 100_000), np.float32),
    "d0": np.ones(1000, np.float32),
    "n0": np.ones(1_000_000, np.float32),
    "many": np.array([1_000_000]),
}


@pytest.mark.parametrize("name", BOMBS)
def test_what_would_fill_the_memory_when_folded(name):
    used = {i for node in BOMBS[name] for i in node.input}
    held = {key: np.asarray(value) for key, value in BOMB_CONSTANTS.items() if key in used}
    data = make_model(BOMBS[name], {}, ["y"], held).SerializeToString()
    tracemalloc.start()
    try:
        with pytest.raises(InvalidModelError, match="bytes"):
            read_onnx(data)
        assert tracemalloc.get_traced_memory()[1] < 300 << 20
    finally:
        tracemalloc.stop()


def test_a_product_that_takes_long_stays_a_node():
    square = np.ones((2000, 2000), np.float32)
    graph = read(make_model([Node("MatMul", ["a", "b"], ["y"])], {}, ["y"], {"a": square, "b": square}))
    assert [node.op for node in graph.nodes] == ["matmul"]


@pytest.mark.parametrize("opset", [1, 6, 29, 1000, -3])
def test_opsets_outside_of_what_is_known(opset):
    model = make_model([Node("Tanh", ["x"], ["y"])], {"x": X}, ["y"])
    model.opset_import[0].version = opset
    with pytest.raises(UnsupportedModelError, match=f"opset {opset}, expected 7 to"):
        read(model)


def test_no_opset_at_all():
    model = make_model([Node("Tanh", ["x"], ["y"])], {"x": X}, ["y"])
    del model.opset_import[:]
    with pytest.raises(InvalidModelError, match="opset_import"):
        read(model)


def test_operators_newer_than_the_opset_of_the_file():
    with pytest.raises(UnsupportedModelError, match=r"Mish \(ai.onnx opset 9\)"):
        read(make_model([Node("Mish", ["x"], ["y"])], {"x": X}, ["y"], opset=9))


def test_foreign_domains_are_named():
    nodes = [Node("Attention", ["x", "x"], ["y"], domain="com.microsoft", name="fused")]
    with pytest.raises(UnsupportedModelError, match=r"Attention \(com.microsoft opset 1\).*node 'fused'"):
        read(make_model(nodes, {"x": X}, ["y"], domains=["com.microsoft"]))
    nodes[0].domain = "some.where"
    with pytest.raises(InvalidModelError, match="imports no opset of domain"):
        read(make_model(nodes, {"x": X}, ["y"]))


def test_subgraphs_are_refused_by_the_name_of_their_operator():
    body = helper.make_graph([Node("Det", ["x"], ["t"])], "b", [], [helper.make_tensor_value_info("t", 1, None)])
    nodes = [Node("If", ["c"], ["y"], name="branch", then_branch=body, else_branch=body)]
    model = make_model(nodes, {"x": X, "c": np.array(True)}, ["y"])
    with pytest.raises(UnsupportedModelError, match=r"a subgraph: operator Det \(ai.onnx opset 18\)"):
        read(model)


def test_everything_that_is_not_implemented_comes_in_one_message():
    nodes = [
        Node("Det", ["x"], ["l"], name="det"),
        Node("RandomNormalLike", ["l"], ["e"], name="noise"),
        Node("Softsign", ["x"], ["s"], name="good"),
        Node("Pad", ["x", "pads"], ["p"], mode="wrap", name="pad"),
        Node("Sum", ["e", "s", "p"], ["y"], name="after"),
    ]
    model = make_model(nodes, {"x": X}, ["y"], {"pads": np.zeros(4, np.int64)})
    with pytest.raises(UnsupportedModelError) as caught:
        read(model)
    message = str(caught.value)
    for name in ("Det", "'det'", "RandomNormalLike", "'noise'", "'pad'", "'wrap'", "tensor outside", "fallback="):
        assert name in message
    assert "Softsign" not in message
    assert "'after'" not in message


def test_sparse_initializers_are_refused():
    model = make_model([Node("Add", ["x", "s"], ["y"])], {"x": X}, ["y"])
    values = numpy_helper.from_array(np.ones(1, np.float32), "s")
    indices = numpy_helper.from_array(np.array([0]), "i")
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [3]))
    with pytest.raises(UnsupportedModelError, match="sparse initializer 's'"):
        read(model)


def test_inputs_that_are_no_tensors():
    model = make_model([Node("SequenceLength", ["s"], ["y"])], {}, {"y": "int64"})
    model.graph.input.append(helper.make_tensor_sequence_value_info("s", 1, None))
    with pytest.raises(UnsupportedModelError, match="sequence_type"):
        read(model)


def test_outputs_that_are_declared_wrongly():
    with pytest.raises(InvalidModelError, match="'y': the file declares int64, but its nodes compute float32"):
        read(make_model([Node("Tanh", ["x"], ["y"])], {"x": X}, {"y": "int64"}))


@pytest.mark.parametrize("axis", [-(1 << 31), 1 << 62])
def test_axes_that_no_tensor_has(axis):
    """Whatever counts up to one of them takes any time and memory."""
    s = np.ones(3, np.float32)
    for nodes in (
        [Node("LayerNormalization", ["x", "s"], ["y", "mean"], axis=axis, name="n")],
        [Node("Cast", ["x"], ["i"], to=7), Node("OneHot", ["i", "d", "v"], ["y"], axis=axis, name="n")],
        [Node("Softmax", ["x"], ["y"], axis=axis, name="n")],
    ):
        constants = {"s": s, "d": np.array(3), "v": np.array([0, 1], np.float32)}
        with pytest.raises(InvalidModelError, match=r"'n'.*'axis' has .*more axes than a tensor can have"):
            read(make_model(nodes, {"x": X}, ["y"], constants))


def test_sizes_below_nothing_beside_the_one_that_is_left_over():
    model = make_model([Node("Reshape", ["x", "to"], ["y"])], {"x": X}, ["y"], {"to": np.array([3, -2, -1])})
    with pytest.raises(ShapeError, match="sizes of at least 0"):
        fastgru.load(model.SerializeToString()).run({"x": X})


@pytest.mark.parametrize("more", [{"coordinate_transformation_mode": "half_pixel_symmetric"}, {"antialias": 1}])
@pytest.mark.parametrize("mode", ["linear", "cubic"])
def test_a_resize_to_nothing(mode, more):
    nodes = [Node("Resize", ["x", "", "", "to"], ["y"], mode=mode, **more)]
    model = make_model(nodes, {"x": X}, ["y"], {"to": np.array([0, X.shape[1]])}, opset=19)
    assert fastgru.load(model.SerializeToString()).run({"x": X})["y"].shape == (0, X.shape[1])


def test_damaged_attributes():
    model = make_model([Node("Softmax", ["x"], ["y"], axis=1, name="n")], {"x": X}, ["y"])
    model.graph.node[0].attribute.append(helper.make_attribute("axis", 0))
    with pytest.raises(InvalidModelError, match="'axis' occurs twice"):
        read(model)
    model.graph.node[0].attribute[1].name = "other"
    model.graph.node[0].attribute[0].type = onnx.AttributeProto.FLOAT
    with pytest.raises(InvalidModelError, match="'axis' is of type FLOAT, expected INT"):
        read(model)
    model.graph.node[0].attribute[0].ref_attr_name = "outer"
    with pytest.raises(InvalidModelError, match="outside of a function"):
        read(model)


def test_bytes_that_are_no_onnx():
    for data in (b"\x00", b"hello", bytes(100), small_gru().SerializeToString()[:200]):
        with pytest.raises(InvalidModelError):
            read_onnx(data)
    with pytest.raises(InvalidModelError, match="empty"):
        read_onnx(b"")
    with pytest.raises(FileNotFoundError):
        read_onnx("no_such_file.onnx")


def test_names_that_are_no_text():
    data = make_model([Node("Tanh", ["x"], ["y"], name="marker")], {"x": X}, ["y"]).SerializeToString()
    with pytest.raises(InvalidModelError, match=r"NodeProto.name is .* not UTF-8"):
        read_onnx(data.replace(b"marker", b"mark\xff\xfe"))


def _function(name, nodes, inputs=("a",), outputs=("b",), attributes=(), defaults=()):
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("local", 1)]
    return helper.make_function(
        "local", name, list(inputs), list(outputs), nodes, opsets, list(attributes), list(defaults)
    )


def test_functions_of_the_model_are_converted_in_place():
    leak = Node("LeakyRelu", ["a"], ["t"])
    leak.attribute.add(name="alpha", ref_attr_name="slope", type=onnx.AttributeProto.FLOAT)
    functions = [
        _function("inner", [leak, Node("Clip", ["t", "low"], ["b"])], ["a", "low"], attributes=["slope"]),
        _function("outer", [Node("inner", ["a"], ["t"], domain="local", slope=0.5), Node("Neg", ["t"], ["b"])]),
        _function("never_called", [Node("NoSuchThing", ["a"], ["b"])]),
    ]
    nodes = [
        Node("outer", ["x"], ["t"], domain="local", name="call"),
        Node("inner", ["t", "low"], ["y"], domain="local", slope=0.1),
    ]
    x = np.array([[-1.0, 2.0]], np.float32)
    model = make_model(nodes, {"x": x}, ["y"], {"low": np.float32(-1.5)}, domains=["local"], functions=functions)
    result = run_graph(read(model), {"x": x})["y"]
    np.testing.assert_allclose(result, [[0.5, -0.2]], rtol=1e-6)


def test_functions_that_call_themselves_or_without_end():
    functions = [
        _function("even", [Node("odd", ["a"], ["b"], domain="local")]),
        _function("odd", [Node("even", ["a"], ["b"], domain="local")]),
    ]
    nodes = [Node("even", ["x"], ["y"], domain="local")]
    with pytest.raises(InvalidModelError, match="calls itself"):
        read(make_model(nodes, {"x": X}, ["y"], domains=["local"], functions=functions))
    functions = [_function("f0", [Node("Tanh", ["a"], ["b"])])]
    for i in range(1, 30):
        calls = [Node(f"f{i - 1}", ["a"], ["t"], domain="local"), Node(f"f{i - 1}", ["t"], ["b"], domain="local")]
        functions.append(_function(f"f{i}", calls))
    nodes = [Node("f29", ["x"], ["y"], domain="local")]
    with pytest.raises(InvalidModelError, match="more than 50000 nodes"):
        read(make_model(nodes, {"x": X}, ["y"], domains=["local"], functions=functions))


def _mutated(draw, data):
    for _ in range(draw(st.integers(1, 8))):
        kind = draw(st.sampled_from(["flip", "cut", "drop", "copy"]))
        if not data:
            break
        at = draw(st.integers(0, len(data) - 1))
        if kind == "flip":
            data[at] ^= 1 << draw(st.integers(0, 7))
        elif kind == "cut" and draw(st.booleans()):
            del data[at:]
        elif kind == "drop":
            del data[at : at + draw(st.integers(1, 40))]
        else:
            data[at:at] = data[at : at + draw(st.integers(1, 40))]
    return bytes(data)


SEEDS = [
    small_gru(attributes={"linear_before_reset": 1}, producer="pytorch").SerializeToString(),
    make_model(
        [
            Node("Slice", ["w", "s", "e"], ["a"], name="slice"),
            Node("Tile", ["a", "reps"], ["b"], name="tile"),
            Node("Gather", ["b", "ids"], ["c"], axis=0, name="gather"),
            Node("Gemm", ["c", "w", "bias"], ["d"], transB=1, name="gemm"),
            Node("Softmax", ["d"], ["y"], axis=-1, name="softmax"),
        ],
        {"ids": np.zeros(3, np.int64)},
        ["y"],
        {
            "w": np.ones((4, 3), np.float32),
            "s": np.array([0]),
            "e": np.array([2]),
            "reps": np.array([2, 1]),
            "bias": np.ones(4, np.float32),
        },
    ).SerializeToString(),
]


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.data())
def test_mutated_files_end_in_errors_of_the_tree(data):
    mutated = _mutated(data.draw, bytearray(data.draw(st.sampled_from(SEEDS))))
    try:
        graph = read_onnx(mutated, linear_before_reset=1)
    except FastGRUError:
        return
    graph.validate()
