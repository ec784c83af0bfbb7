"""Files of low precision: what comes back has the bits of the model that was saved, and no float copy is made."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastgru
from fastgru.cli.charmodel import DATA
from fastgru.engine import Executable
from fastgru.errors import FastGRUError, InvalidModelError, UnsupportedModelError
from fastgru.exporters import to_onnx
from fastgru.graph import Graph, Node, TensorSpec
from fastgru.graphfile import graph_to_bytes, read_graph
from fastgru.reference import run_graph
from fastgru.reference.evaluate import with_plain_weights
from fastgru.spec import GRUSpec
from fastgru.tensorfile import read_tensor_file
from fastgru.verify.cases import draw_cases

PRECISIONS = ("bfloat16", "int8")


def normal(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32) / np.float32(8)


def network(H=70, I=24):
    """ids (T, N) -> a table of 50 rows -> a GRU in both directions -> a product -> scaled by a norm -> tied logits."""
    spec = GRUSpec(I, H, "bidirectional")
    shapes = [(f"{name}{d}", shape) for d in range(2) for name, shape in spec.weight_shapes.items()]
    recurrent = {name: normal(i, *shape) for i, (name, shape) in enumerate(shapes, 10)}
    norm = {"scale": 1 + normal(5, I), "shift": normal(6, I), "mean": normal(7, I), "var": 1 + normal(8, I) ** 2}
    products = {"wide": normal(2, 2 * H, 100), "back": normal(3, I, 100), "b": normal(4, 50)}
    constants = {"table": normal(1, 50, I), **products}
    nodes = (
        Node("embedding", ("ids", "table"), ("x",), {}),
        Node("gru", ("x", "", "", "", *recurrent), ("y", "h"), {"spec": spec.to_dict()}),
        Node("matmul", ("y", "wide"), ("m",), {}),
        Node("linear", ("m", "back"), ("s",), {}),
        Node("batch_norm", ("s", *norm), ("t",), {"axis": -1, "epsilon": 1e-5}),
        Node("linear", ("t", "table", "b"), ("logits",), {}),
    )
    inputs = (TensorSpec("ids", "int64", (None, None), ("T", "N")),)
    outputs = (TensorSpec("logits", "float32", None), TensorSpec("h", "float32", None))
    return Graph(inputs, outputs, nodes, {**constants, **recurrent, **norm})


IDS = np.random.default_rng(0).integers(0, 50, (9, 3))


def same(a, b, feeds):
    got, wanted = a.run(feeds), b.run(feeds)
    assert set(got) == set(wanted)
    for name, array in wanted.items():
        np.testing.assert_array_equal(got[name], array)


@settings(max_examples=12, deadline=None)
@given(
    H=st.sampled_from([1, 5, 64, 70]),
    I=st.sampled_from([1, 17, 24]),
    chosen=st.one_of(
        st.sampled_from(PRECISIONS),
        st.fixed_dictionaries({n: st.sampled_from([*PRECISIONS, "float32"]) for n in ("x", "y", "m", "t", "logits")}),
    ),
)
def test_a_file_has_the_bits_of_the_model(H, I, chosen, tmp_path_factory):
    model = fastgru.Model(network(H, I), precision=chosen)
    path = tmp_path_factory.mktemp("small") / "model.safetensors"
    model.save(path)
    loaded = fastgru.load(path)
    same(loaded, model, {"ids": IDS})
    small = {n: c.precision for n, c in model.weight_precisions.items() if c.precision != "float32"}
    assert dict(loaded.graph.precisions) == small
    assert {n: c.precision for n, c in loaded.weight_precisions.items() if c.precision != "float32"} == small
    loaded.save(again := path.with_name("again.safetensors"))
    assert again.read_bytes() == path.read_bytes()


@pytest.mark.parametrize("precision", PRECISIONS)
def test_what_a_file_holds(precision, tmp_path):
    model = fastgru.Model(network(), precision=precision)
    model.save(tmp_path / "model.safetensors")
    file = read_tensor_file(tmp_path / "model.safetensors")
    large = {name: a.dtype.name for name, a in file.tensors.items() if a.size > 3000}
    assert set(large.values()) == {precision}
    assert file.metadata["fastgru.format"] == "2"
    loaded = fastgru.load(tmp_path / "model.safetensors")
    assert loaded.precision == precision
    assert loaded.graph.num_parameters == model.to_graph().num_parameters
    assert fastgru.Model(network(), precision="float32").to_graph().precisions == {}
    assert b'"2"' not in graph_to_bytes(network())[:400]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_floats_are_made_of_it_where_they_are_asked_for(precision, tmp_path):
    fastgru.Model(network(), precision=precision).save(tmp_path / "model.safetensors")
    loaded = fastgru.load(tmp_path / "model.safetensors", precision="float32")
    plain = with_plain_weights(loaded.graph)
    assert not any(node.op == "dequantize" for node in plain.nodes)
    same(loaded, fastgru.Model(plain), {"ids": IDS})
    wanted = run_graph(loaded.graph, {"ids": IDS}, dtype="float64")["logits"]
    np.testing.assert_allclose(loaded.run({"ids": IDS})["logits"], wanted, atol=1e-5)
    double = fastgru.load(tmp_path / "model.safetensors", precision="float64")
    np.testing.assert_allclose(double.run({"ids": IDS})["logits"], wanted, rtol=0, atol=1e-5)
    to_onnx(plain, tmp_path / "model.onnx")
    loaded.to_onnx(tmp_path / "again.onnx")
    assert (tmp_path / "model.onnx").read_bytes() == (tmp_path / "again.onnx").read_bytes()
    same(fastgru.load(tmp_path / "model.onnx"), loaded, {"ids": IDS})
    loaded.save(tmp_path / "plain.safetensors")
    assert fastgru.load_graph(tmp_path / "plain.safetensors").precisions == {}
    report = fastgru.verify(tmp_path / "model.safetensors")
    assert (report.precision, report.holds) == (precision, True)
    with pytest.raises(UnsupportedModelError, match="already quantised"):
        fastgru.quantize(tmp_path / "model.safetensors")


def test_rows_that_int8_kernels_cannot_take_become_floats():
    x, q = normal(0, 4, 24), np.random.default_rng(1).integers(-127, 128, (80, 24)).astype(np.int8)
    scale = np.abs(normal(2, 80)) / 100

    def product(q, scale, zero_point=None, axis=0):
        constants = {"q": q, "s": scale} | ({} if zero_point is None else {"z": zero_point})
        nodes = (Node("dequantize", tuple(constants), ("w",), {"axis": axis}), Node("linear", ("x", "w"), ("y",), {}))
        specs = (TensorSpec("x", "float32", (None, None)),), (TensorSpec("y", "float32", None),)
        return Executable(Graph(*specs, nodes, constants), precision={"y": "int8"})

    kept = product(q, scale)
    assert list(kept.precisions.rows) == ["w"]
    want = x.astype(np.float64) @ (q.astype(np.float64) * scale[:, None]).T
    low = q.copy()
    low[3, 4] = -128
    for executable, exact, rows in (
        (kept, want, ["w"]),
        (product(q, np.float32(0.01)), x @ (q * np.float32(0.01)).T, ["w"]),
        (product(q, scale, np.zeros(80, np.int8)), want, ["w"]),
        (product(q, scale, np.ones(80, np.int8)), x @ ((q - 1.0) * scale[:, None]).T, []),
        (product(low, scale), x @ (low * scale[:, None]).T, []),
        (product(q, normal(3, 24), axis=1), x @ (q * normal(3, 24)).T, []),
        (product(q, -scale), -want, []),
    ):
        assert list(executable.precisions.rows) == rows
        got = executable.run({"x": x})["y"]
        assert np.abs(got - exact).max() < 0.02 * np.abs(exact).max()


def forged(change):
    graph = fastgru.Model(network(), precision="int8").to_graph()
    content = graph_to_bytes(graph)
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    data = json.loads(header["__metadata__"]["fastgru.graph"])
    change(data)
    header["__metadata__"]["fastgru.graph"] = json.dumps(data)
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + content[8 + size :]


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            lambda data: data["precisions"].update(nobody="int8"),
            InvalidModelError,
            "precisions has .'nobody'",
        ),
        (lambda data: data.update(precisions=["y"]), InvalidModelError, "got list, expected an object"),
        (lambda data: data["precisions"].update(y=8), InvalidModelError, "got int, expected a text"),
        (lambda data: data["precisions"].update(y="int4"), UnsupportedModelError, "'int4' is not supported"),
        (lambda data: data["precisions"].update(t="int8", s="int8"), InvalidModelError, "precisions has .'s'"),
    ],
)
def test_a_forged_file_is_refused(change, error, message):
    with pytest.raises(error, match=message):
        fastgru.load(forged(change))


def spoilt(name, changes):
    """The saved network with other inputs or attributes of the node that gives `name`, or with another constant."""
    graph = fastgru.Model(network(), precision="int8").to_graph()
    if isinstance(changes, np.ndarray):
        return replace(graph, constants={**graph.constants, name: changes})
    return replace(graph, nodes=tuple(replace(n, **changes) if name in n.outputs else n for n in graph.nodes))


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("wide/dequantized", {"attrs": {"axis": "x"}}, "dequantize 'wide/dequantized'"),
        ("wide/dequantized", {"attrs": {"axis": 0}}, "scale has shape"),
        ("wide/dequantized", {"attrs": {"axis": 2}}, "dequantize 'wide/dequantized'"),
        ("wide/dequantized", {"inputs": ("wide/int8",)}, "scale is missing"),
        ("y", {"inputs": ("x",)}, "weight_ih is missing"),
        ("wide/scale", np.ones(7, np.float32), "scale has shape"),
        ("wide/scale", np.full(100, np.nan, np.float32), "100 of the 100 values of 'wide/scale' are NaN"),
        ("wide/int8", np.ones((3, 100), np.int8), "expected .*, the last of|do not fit|expected"),
    ],
)
def test_nodes_and_scales_that_do_not_fit(name, changes, message):
    content = graph_to_bytes(spoilt(name, changes))
    with pytest.raises(FastGRUError, match=message):
        fastgru.load(content).run({"ids": IDS})


def test_a_file_may_choose_other_nodes(tmp_path):
    """What is stored in int8 and not said to be computed so is computed in float32."""
    content = forged(lambda data: data["precisions"].pop("y"))
    model = fastgru.load(content)
    assert model.weight_precisions["y"].precision == "float32"
    plain = with_plain_weights(read_graph(content))
    np.testing.assert_array_equal(
        fastgru.Model(plain, precision={"x": "int8"}).run({"ids": IDS})["h"], model.run({"ids": IDS})["h"]
    )


def test_bfloat16_constants_come_back_on_a_cache_line(tmp_path):
    fastgru.Model(network(), precision="bfloat16").save(tmp_path / "model.safetensors")
    graph = fastgru.load_graph(tmp_path / "model.safetensors")
    array = graph.constants["wide/bfloat16"]
    assert array.dtype == ml_dtypes.bfloat16
    assert array.ctypes.data % 64 == 0


@pytest.mark.parametrize("name", ["demo", "rnnoise", "gtcrn"])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_models_of_others_come_back(name, precision, tmp_path, request):
    file = DATA / "demo.safetensors"
    if name != "demo":
        file = (
            request.getfixturevalue("shared_models") / {"rnnoise": "rnnoise/bd.hdf5", "gtcrn": "gtcrn/gtcrn.onnx"}[name]
        )
    model = fastgru.load(file, precision=precision)
    model.save(tmp_path / "model.safetensors")
    loaded = fastgru.load(tmp_path / "model.safetensors")
    feeds = draw_cases(model.graph, seed=1)[0].calls[0]
    same(loaded, model, feeds)


MEMORY = """
import os, re, sys
import numpy as np
import fastgru
from fastgru.layers import GRU

def status(field):
    return int(re.search(field + r":\\s+(\\d+) kB", open("/proc/self/status").read())[1]) << 10

small, path = sys.argv[1:]
def use(file):
    model = fastgru.load(file)
    model.run({s.name: np.zeros((1, 1, s.shape[-1]), np.float32) for s in model.inputs})
    return model
use(small)
before = status("VmRSS")
model = use(path)
print(status("VmHWM") - before, status("VmRSS") - before, sum(a.nbytes for a in model._runnable._packs.values()))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc/self/status")
def test_an_int8_file_takes_a_quarter_of_the_memory(tmp_path):
    def graph(H):
        spec = GRUSpec(H, H)
        weights = {name: normal(i, *shape) for i, (name, shape) in enumerate(spec.weight_shapes.items())}
        node = Node("gru", ("x", "", "", "", *weights), ("y",), {"spec": spec.to_dict()})
        specs = (TensorSpec("x", "float32", (None, None, H)),), (TensorSpec("y", "float32", None),)
        return Graph(*specs, (node,), weights)

    taken, sizes = {}, {}
    environment = {**os.environ, "PYTHONPATH": str(Path(fastgru.__file__).parent.parent)}
    for precision in ("float32", *PRECISIONS):
        for H, name in ((64, "small"), (1600, "large")):
            fastgru.Model(graph(H), precision=precision).save(tmp_path / f"{name}.safetensors")
        sizes[precision] = (tmp_path / "large.safetensors").stat().st_size
        command = [sys.executable, "-c", MEMORY, tmp_path / "small.safetensors", tmp_path / "large.safetensors"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr
        taken[precision] = [int(n) for n in re.findall(r"\d+", done.stdout)]
    for precision, share in (("int8", 0.27), ("bfloat16", 0.56)):
        assert sizes[precision] <= share * sizes["float32"]
        for got, whole in zip(taken[precision], taken["float32"], strict=True):
            assert got <= share * whole, taken
