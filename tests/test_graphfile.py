"""The package's own model file: what goes in comes out, and nothing else is let in."""

from __future__ import annotations

import json
import os
import stat
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fastgru.errors import FastGRUError, InvalidModelError, UnreadTensorsError, UnsupportedModelError
from fastgru.graph import DTYPES, Graph, Node, TensorSpec
from fastgru.graphfile import graph_to_bytes, is_graph_file, read_graph, write_graph
from fastgru.load import load_graph
from fastgru.spec import GRUSpec
from fastgru.tensorfile import read_tensor_file, tensor_file_chunks

TEXTS = st.text(st.characters(codec="utf-8"), max_size=10)
NAMES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=10).filter(lambda name: name != "__metadata__")
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


def dtype_of(name: str) -> np.dtype[Any]:
    return np.dtype(ml_dtypes.bfloat16 if name == "bfloat16" else name)


@st.composite
def constants(draw: st.DrawFn) -> np.ndarray:
    dtype = dtype_of(draw(st.sampled_from(DTYPES)))
    shape = draw(hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
    raw = draw(hnp.arrays(np.uint8, (*shape, dtype.itemsize)))
    array = (raw & 1 if dtype.kind == "b" else raw).view(dtype).reshape(shape)
    return array.T if draw(st.booleans()) else array


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    names = draw(st.lists(NAMES, min_size=4, max_size=12, unique=True))
    cut = draw(st.integers(1, len(names) - 2))
    values, arrays = names[:1], {name: draw(constants()) for name in names[1 : cut + 1]}
    nodes = []
    for name in names[cut + 1 :]:
        inputs = draw(st.lists(st.sampled_from([*values, *arrays, ""]), max_size=4))
        attrs = draw(st.dictionaries(TEXTS, PLAIN, max_size=3))
        nodes.append(Node(draw(TEXTS), tuple(inputs), (name, ""), attrs, draw(TEXTS)))
        values = [*values, name]
    shape = draw(st.none() | st.lists(st.none() | st.integers(0, 9), max_size=3).map(tuple))
    dims = draw(st.lists(st.none() | TEXTS, min_size=len(shape), max_size=len(shape)).map(tuple)) if shape else ()
    inputs_ = (TensorSpec(names[0], draw(st.sampled_from(DTYPES)), shape, dims),)
    outputs = (TensorSpec(values[-1], draw(st.sampled_from(DTYPES)), None),)
    states = {names[0]: values[-1]} if draw(st.booleans()) else {}
    return Graph(
        inputs_, outputs, tuple(nodes), arrays, states, draw(TEXTS), draw(st.dictionaries(TEXTS, TEXTS, max_size=3))
    )


def same(a: Graph, b: Graph) -> None:
    for field in ("inputs", "outputs", "nodes", "states", "name", "meta"):
        assert getattr(a, field) == getattr(b, field), field
    assert list(a.constants) == list(b.constants)
    for name, array in a.constants.items():
        other = b.constants[name]
        assert (array.dtype, array.shape) == (other.dtype, other.shape)
        assert array.tobytes() == other.tobytes()


@given(graphs())
def test_round_trip(graph: Graph) -> None:
    content = graph_to_bytes(graph)
    same(graph, read_graph(content))
    assert graph_to_bytes(read_graph(content)) == content
    assert len(content) >= 64
    for array in read_graph(content).constants.values():
        assert not array.flags.writeable
        assert (
            array.__array_interface__["data"][0] - np.frombuffer(content, np.uint8).ctypes.data
        ) % array.itemsize == 0


def example() -> Graph:
    return Graph(
        inputs=(TensorSpec("x", "float32", (None, 1, 3), ("T", None, None)),),
        outputs=(TensorSpec("y", "float32", None), TensorSpec("h", "float32", None)),
        nodes=(Node("gru", ("x", "", "", "", "w", "r", "", ""), ("y", "h"), {"spec": GRUSpec(3, 2).to_dict()}, "gru"),),
        constants={"w": np.ones((6, 3), np.float32), "r": np.arange(12, dtype=np.float32).reshape(6, 2)},
        meta={"licence": "none"},
    )


def test_a_written_file_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(b"old")
    write_graph(example(), path)
    graph = read_graph(path)
    assert graph.constants["r"].tolist() == example().constants["r"].tolist()
    assert GRUSpec.from_dict(graph.nodes[0].attrs["spec"]) == GRUSpec(3, 2)
    assert path.read_bytes() == graph_to_bytes(example())
    assert stat.S_IMODE(path.stat().st_mode) & 0o400
    broken = Graph((), (TensorSpec("y", "float32", None),), ())
    with pytest.raises(InvalidModelError):
        write_graph(broken, path)
    strange = Graph((), (), (), {"c": np.ones(2, np.complex64)})
    with pytest.raises(UnsupportedModelError, match="complex64"):
        write_graph(strange, path)
    assert [p.name for p in tmp_path.iterdir()] == ["m.safetensors"]
    assert len(read_graph(path).nodes) == 1


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
def test_a_written_file_has_the_mode_of_the_umask_which_nobody_touches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, set_umask = os.umask(0o027), os.umask
    monkeypatch.setattr(os, "umask", lambda mask: pytest.fail("another thread would make files for everybody"))
    try:
        write_graph(example(), tmp_path / "m.safetensors")
    finally:
        set_umask(old)
    assert stat.S_IMODE((tmp_path / "m.safetensors").stat().st_mode) == 0o640


def test_a_file_that_cannot_be_written_is_named_and_nothing_is_left(tmp_path: Path) -> None:
    for path, error in ((tmp_path / "nowhere" / "m.safetensors", FileNotFoundError), (tmp_path, IsADirectoryError)):
        with pytest.raises(error) as caught:
            write_graph(example(), path)
        assert (caught.value.filename, caught.value.filename2) == (str(path), None)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "attrs",
    [{"a": np.float32(1)}, {"a": [{1: 2}]}, {"a": {"b": (1, b"x")}}, {"a": np.ones(2)}, {"a": {1, 2}}, {"a": "\ud800"}],
)
def test_attributes_are_plain(attrs: dict[str, Any]) -> None:
    graph = Graph((TensorSpec("x", "float32", None),), (), (Node("linear", ("x",), ("y",), attrs),))
    with pytest.raises(InvalidModelError):
        graph_to_bytes(graph)


def test_attributes_are_not_nested_without_end() -> None:
    deep: list[Any] = []
    deep.append(deep)
    graph = Graph((TensorSpec("x", "float32", None),), (), (Node("linear", ("x",), ("y",), {"a": deep}),))
    with pytest.raises(InvalidModelError, match="nested more than 16 deep"):
        graph_to_bytes(graph)


def forged(change: Callable[[dict[str, Any]], object], *, version: str = "1", **tensors: np.ndarray) -> bytes:
    file = read_tensor_file(graph_to_bytes(example()))
    data = json.loads(file.metadata["fastgru.graph"])
    change(data)
    metadata = {"fastgru.format": version, "fastgru.graph": json.dumps(data)}
    return b"".join(tensor_file_chunks({**file.tensors, **tensors}, metadata))


def test_unknown_versions_are_refused() -> None:
    with pytest.raises(UnsupportedModelError, match=r"fastgru\.format is '5'.*expected '1', '2', '3', '4'"):
        read_graph(forged(lambda data: None, version="5"))


def test_what_states_begin_with_is_kept_and_checked() -> None:
    state, after = TensorSpec("h", "float32", (1, None, 2)), TensorSpec("h_n", "float32", (1, None, 2))
    graph = Graph(
        (TensorSpec("x", "float32", (1, None, 2)), state),
        (after,),
        (Node("binary", ("x", "h"), ("h_n",), {"kind": "add"}),),
        states={"h": "h_n"},
        starts={"h": np.ones((1, 1, 2), np.float32)},
    )
    again = read_graph(graph_to_bytes(graph))
    assert again.states == {"h": "h_n"}
    assert list(again.starts) == ["h"]
    np.testing.assert_array_equal(again.starts["h"], graph.starts["h"])
    for wrong in (
        {"x": np.ones((1, 1, 2), np.float32)},
        {"h": np.ones((1, 2, 2), np.float32)},
        {"h": np.ones(2, np.float32)},
        {"h": np.ones((1, 1, 2), np.int64)},
    ):
        with pytest.raises(InvalidModelError, match="is not a state that can begin with"):
            graph_to_bytes(replace(graph, starts=wrong))


def test_tensors_are_those_that_the_graph_names() -> None:
    content = forged(lambda data: None, extra=np.ones(2))
    for read in (read_graph, load_graph):
        with pytest.raises(UnreadTensorsError, match=r"'extra'; allow_unread=True accepts"):
            read(content)
        assert graph_to_bytes(read(content, allow_unread=True)) == graph_to_bytes(example())
    with pytest.raises(InvalidModelError, match="'b' are missing"):
        read_graph(forged(lambda data: data["constants"].append("b")))


CHANGES: dict[str, Callable[[dict[str, Any]], object]] = {
    "a field more": lambda d: d.update(extra=1),
    "a field less": lambda d: d.pop("meta"),
    "nodes are no list": lambda d: d.update(nodes={}),
    "a node is no object": lambda d: d["nodes"].append([]),
    "a node has a field more": lambda d: d["nodes"][0].update(domain=""),
    "inputs are no texts": lambda d: d["nodes"][0].update(inputs=[1]),
    "inputs are a text": lambda d: d["nodes"][0].update(inputs="x"),
    "op is a number": lambda d: d["nodes"][0].update(op=1),
    "attributes are a list": lambda d: d["nodes"][0].update(attrs=[]),
    "attributes are deep": lambda d: d["nodes"][0].update(attrs={"a": json.loads("[" * 40 + "]" * 40)}),
    "an input is undefined": lambda d: d["nodes"][0].update(inputs=["q"]),
    "an output twice": lambda d: d["nodes"].append(d["nodes"][0]),
    "a size is negative": lambda d: d["inputs"][0].update(shape=[-1, 1, 3]),
    "a size is a float": lambda d: d["inputs"][0].update(shape=[1.0, 1, 3]),
    "a size is true": lambda d: d["inputs"][0].update(shape=[True, 1, 3]),
    "dims do not fit": lambda d: d["inputs"][0].update(dims=["T"]),
    "dims are numbers": lambda d: d["inputs"][0].update(dims=[1, 2, 3]),
    "a dtype is unknown": lambda d: d["inputs"][0].update(dtype="float8"),
    "a dtype is a list": lambda d: d["inputs"][0].update(dtype=[]),
    "states are a list": lambda d: d.update(states=[]),
    "a state is unknown": lambda d: d.update(states={"x": "q"}),
    "meta is deep": lambda d: d.update(meta={"a": {}}),
    "the name is missing": lambda d: d.update(name=None),
    "constants are numbers": lambda d: d.update(constants=[1]),
    "a constant twice": lambda d: d.update(constants=["w", "r", "r"]),
}


@pytest.mark.parametrize("kind", sorted(CHANGES))
def test_every_field_is_checked(kind: str) -> None:
    with pytest.raises(InvalidModelError):
        read_graph(forged(CHANGES[kind]))


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "1", "[" * 1_000_000, '{"nodes":' * 100_000])
def test_the_graph_is_json(text: str) -> None:
    content = b"".join(tensor_file_chunks({}, {"fastgru.format": "1", "fastgru.graph": text}))
    with pytest.raises(InvalidModelError):
        read_graph(content)


def test_a_state_dict_is_no_graph() -> None:
    content = b"".join(tensor_file_chunks({"w": np.ones(2)}, {"format": "pt"}))
    assert not is_graph_file(read_tensor_file(content))
    with pytest.raises(InvalidModelError, match="but no graph"):
        read_graph(content)


def test_every_truncation_and_the_header_flipped() -> None:
    content = graph_to_bytes(example())
    for length in range(len(content)):
        with pytest.raises(FastGRUError):
            read_graph(content[:length])
    (header,) = struct.unpack("<Q", content[:8])
    for at in range(8 + header):
        damaged = bytearray(content)
        damaged[at] ^= 1 << (at % 8)
        try:
            read_graph(bytes(damaged))
        except FastGRUError:
            continue


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_load_refuses_weights_that_are_no_numbers(dtype: str, value: str) -> None:
    graph = example()
    weights = graph.constants["r"].astype(dtype_of(dtype))
    weights[2, 1] = float(value)
    content = graph_to_bytes(replace(graph, constants={**graph.constants, "r": weights}))
    with pytest.raises(InvalidModelError, match=r"gru 'gru': 1 of the 12 values of 'r' are NaN or infinite"):
        load_graph(content)
    assert len(load_graph(graph_to_bytes(graph)).nodes) == 1
