"""Networks around GRUs from PyTorch's two exporters: the numbers of ONNX Runtime, whole, as streams, in other sizes.

The files are made by tools/make_network_golden.py; the last tests export anew where torch is installed.
"""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

import fastgru

FOLDER = Path(__file__).parent.parent / "data" / "networks"
FILES = sorted(FOLDER.glob("*.onnx"))
FREE = [path for path in FILES if path.stem.endswith("free")]
STATES = {
    "decoderstep": {"h0": "hn"},
    "forecasterstep": {"last": "last_out", "h": "h_out"},
    "masknet": {"conv_cache": "conv_cache_out", "h0": "hn", "up_cache": "up_cache_out"},
    "sampler": {"h": "h_out"},
}
STREAMS = [path for path in FILES if path.stem.split("_")[0] in STATES]


def ids(paths):
    return pytest.mark.parametrize("path", paths, ids=lambda path: path.stem)


@cache
def golden(kind, name):
    with np.load(FOLDER / "golden.npz") as arrays:
        start = f"{name}.{kind}."
        return {key.removeprefix(start): arrays[key] for key in arrays.files if key.startswith(start)}


@cache
def session(path):
    return ort_session(path.read_bytes())


def ort_session(data):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def ort_run(session, feeds):
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, feeds), strict=True))


def check(results, expected, tol=1e-5):
    assert list(results) == list(expected)
    for name, array in expected.items():
        assert results[name].shape == array.shape
        assert results[name].dtype.kind == array.dtype.kind
        assert np.abs(array).max() > 1e-3
        assert np.abs(np.float64(results[name]) - array).max() < tol


def network_of(path):
    return path.stem.split("_")[0]


def resized(path, sizes, rng):
    """Inputs of other sizes for the dimensions that the file leaves free, by the golden ones' kind of values."""
    model, feeds = fastgru.load(path), {}
    for spec in model.inputs:
        old = golden("in", network_of(path))[spec.name]
        free = iter(sizes)
        shape = tuple(next(free) if axis is None else axis for axis in spec.shape)
        if old.dtype.kind == "i":
            feeds[spec.name] = rng.integers(0, old.max() + 1, shape)
        elif set(np.unique(old)) <= {0.0, 1.0}:
            feeds[spec.name] = rng.integers(0, 2, shape).astype(np.float32)
        else:
            array = rng.standard_normal(shape).astype(np.float32)
            feeds[spec.name] = abs(array) if old.min() >= 0 else array
    return model, feeds


def test_every_network_is_there_from_both_exporters():
    names = {"crnn", "spotter", "translator", "recommender", "forecaster", *STATES}
    assert {path.stem for path in FILES} == {
        f"{name}_{exporter}_{kind}" for name in names for exporter in ("trace", "dynamo") for kind in ("free", "static")
    }


@ids(FILES)
@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_the_numbers_are_those_of_torch_and_of_onnxruntime(path, precision):
    model = fastgru.load(path, precision=precision)
    feeds = golden("in", network_of(path))
    results = model.run(feeds)
    check(results, golden("out", network_of(path)))
    check(results, ort_run(session(path), feeds))


@ids(FREE)
@pytest.mark.parametrize("sizes", [(1, 8), (3, 13)])
def test_other_sizes_of_free_dimensions(path, sizes):
    model, feeds = resized(path, sizes, np.random.default_rng(sizes))
    check(model.run(feeds), ort_run(session(path), feeds))


@ids(FREE)
def test_a_row_has_the_same_bits_alone_and_in_a_batch(path):
    model, feeds = resized(path, (3, 12), np.random.default_rng(1))
    whole = model.run(feeds)
    for row in range(3):
        alone = model.run({n: a[:, row : row + 1] if n == "h0" else a[row : row + 1] for n, a in feeds.items()})
        for name, array in alone.items():
            axis = 1 if name == "hn" else 0
            np.testing.assert_array_equal(np.take(whole[name], [row], axis), array)


@ids(STREAMS)
def test_a_stream_gives_what_a_loop_over_onnxruntime_gives(path):
    name = network_of(path)
    states, feeds = STATES[name], golden("in", name)
    model = fastgru.load(path)
    stream = model.stream(batch_size=2)
    assert stream.inputs == tuple(n for n in feeds if n not in states)
    carried = {source: np.zeros_like(feeds[source]) for source in states}
    rng = np.random.default_rng(3)
    for _ in range(6):
        frame = {n: rng.permuted(feeds[n].ravel()).reshape(feeds[n].shape) for n in stream.inputs}
        expected = ort_run(session(path), {**frame, **carried})
        carried = {source: expected.pop(target) for source, target in states.items()}
        got = stream.push(*frame.values())
        got = got if isinstance(got, tuple) else (got,)
        check(dict(zip(stream.outputs, got, strict=True)), expected)
    for source, array in carried.items():
        assert np.abs(stream.state[source] - array).max() < 1e-5


@ids([path for path in FILES if path.stem.startswith("masknet") and "trace_free" in path.stem])
def test_frames_of_the_mask_net_one_by_one_have_the_bits_of_a_chunk(path):
    model = fastgru.load(path)
    x = np.random.default_rng(4).standard_normal((1, 1, 9, 17)).astype(np.float32)
    whole = model.stream().push(x)
    stream = model.stream()
    np.testing.assert_array_equal(np.concatenate([stream.push(x[:, :, t : t + 1]) for t in range(9)], 2), whole)


@ids([path for path in FILES if path.stem.startswith("recommender") and path.stem.endswith("static")])
def test_a_softmax_over_50000_items(path):
    items, rng = 50_000, np.random.default_rng(5)
    proto = onnx.load(path)
    for tensor in proto.graph.initializer:
        if 61 in tensor.dims:
            dims = tuple(items if size == 61 else size for size in tensor.dims)
            array = (0.3 * rng.standard_normal(dims)).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    for value in (*proto.graph.output, *proto.graph.value_info):
        for axis in value.type.tensor_type.shape.dim:
            if axis.dim_value == 61:
                axis.dim_value = items
    data = proto.SerializeToString()
    feeds = {"items": rng.integers(0, items, (2, 4))}
    feeds["items"][0, 0] = items - 1
    results, expected = fastgru.load(data).run(feeds), ort_run(ort_session(data), feeds)
    assert results["probabilities"].shape == (2, items)
    np.testing.assert_allclose(results["probabilities"], expected["probabilities"], rtol=1e-4, atol=1e-9)
    np.testing.assert_allclose(results["probabilities"].sum(-1), 1, atol=1e-5)


torch_is_there = importlib.util.find_spec("torch") is not None and importlib.util.find_spec("onnxscript") is not None


@pytest.mark.skipif(not torch_is_there, reason="torch and onnxscript are not installed")
@pytest.mark.parametrize("exporter", ["trace", "dynamo"])
@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("crnn", {"channels": 5, "hidden": 9, "classes": 4}),
        ("spotter", {"channels": 3, "hidden": 5}),
        ("decoderstep", {"words": 30}),
        ("translator", {"length": 3}),
        ("recommender", {"items": 131, "hidden": 17}),
        ("forecasterstep", {}),
        ("forecaster", {"hidden": 12}),
        ("masknet", {}),
        ("sampler", {"inner": 33, "levels": 256}),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_what_the_installed_torch_exports(name, sizes, exporter, tmp_path):
    import torch
    from torch_networks import NETWORKS, export, make_module

    network = NETWORKS[name]
    module = make_module(network, 7, **sizes)
    inputs = network.inputs(torch.Generator().manual_seed(8))
    path = tmp_path / "network.onnx"
    export(network, module, inputs, exporter, path, free=exporter == "trace")
    feeds = {key: value.numpy() for key, value in inputs.items()}
    check(fastgru.load(path).run(feeds), ort_run(ort_session(path.read_bytes()), feeds))
