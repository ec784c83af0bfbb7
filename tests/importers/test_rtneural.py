"""RTNeural's layer JSON: its own models against its own numbers, and what is refused."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastgru.errors import FastGRUError, InvalidModelError, UnreadTensorsError, UnsupportedModelError
from fastgru.graph import Graph
from fastgru.importers.rtneural import graph_from_rtneural, is_rtneural
from fastgru.jsontext import load_json
from fastgru.reference import check_node, run_graph
from fastgru.sources import Source, source_name


def read_rtneural(source: Source, *, allow_unread: bool = False) -> Graph:
    return graph_from_rtneural(load_json(source), name=source_name(source), allow_unread=allow_unread)


@pytest.mark.parametrize("name", ["gru", "gru_1d"])
def test_the_models_of_rtneural(shared_models: Path, name: str) -> None:
    folder = shared_models / "rtneural"
    graph = read_rtneural(folder / f"{name}.json")
    x, y = (np.loadtxt(folder / f"{name}_{axis}_python.csv") for axis in "xy")
    outputs = run_graph(graph, {"x": x.reshape(1, -1, 1)})
    np.testing.assert_allclose(outputs["y"].reshape(-1), y, rtol=0, atol=1e-6)
    assert np.abs(y).max() > 0.05


def layer(kind: str, size: int, *weights: Any, **more: Any) -> dict[str, Any]:
    plain = [np.asarray(w).tolist() for w in weights]
    return {"type": kind, "activation": "", "shape": [None, None, size], "weights": plain, **more}


def model(*layers: Any, size: int = 3, **more: Any) -> bytes:
    return json.dumps({"in_shape": [None, None, size], "layers": list(layers), **more}).encode()


def gru_layer(rng: np.random.Generator, inputs: int = 3, H: int = 2, **more: Any) -> dict[str, Any]:
    return layer("gru", H, *(rng.normal(0, 1, s) for s in ((inputs, 3 * H), (H, 3 * H), (2, 3 * H))), **more)


def test_layers_by_their_formulas() -> None:
    rng = np.random.default_rng(0)
    kernel, bias, slopes = rng.normal(0, 1, (3, 4)), rng.normal(0, 1, 4), rng.normal(0, 1, (1, 4))
    gamma, beta, mean, variance = (np.abs(rng.normal(1, 0.3, 4)) for _ in range(4))
    graph = read_rtneural(
        model(
            layer("dense", 4, kernel, bias, activation="elu"),
            layer("prelu", 4, slopes),
            layer("batchnorm", 4, gamma, beta, mean, variance, epsilon=0.01),
            layer("batchnorm", 4, mean, variance, epsilon=0.1),
            layer("activation", 4, activation="softmax"),
            layer("time-distributed-dense", 4, np.eye(4)),
        )
    )
    for one in graph.nodes:
        check_node(one)
    assert {a.dtype for a in graph.constants.values()} == {np.dtype("f8")}
    x = rng.normal(0, 1, (2, 5, 3))
    y = x @ kernel + bias
    y = np.where(y > 0, y, np.expm1(y))
    y = np.where(y > 0, y, y * slopes[0])
    y = (y - mean) / np.sqrt(variance + 0.01) * gamma + beta
    y = (y - mean) / np.sqrt(variance + 0.1)
    y = np.exp(y) / np.exp(y).sum(-1, keepdims=True)
    np.testing.assert_allclose(run_graph(graph, {"x": x})["y"], y, rtol=0, atol=1e-12)


def test_what_is_not_implemented_is_listed() -> None:
    rng = np.random.default_rng(0)
    content = model(
        layer("lstm", 4), layer("conv1d", 4), gru_layer(rng, activation="relu"), layer("dense", 3, np.ones((2, 3)),
        activation="mish"),
    )  # fmt: skip
    with pytest.raises(UnsupportedModelError) as caught:
        read_rtneural(content)
    for part in ("layers[0] (lstm)", "layers[1] (conv1d)", "'relu'", "'mish'", "Export the network to ONNX"):
        assert part in str(caught.value)


def test_what_stands_behind_an_unknown_layer_is_not_called_damaged() -> None:
    rng = np.random.default_rng(0)
    read = model(layer("lstm", 8, np.ones((3, 32))), layer("dense", 2, np.ones((8, 2)), np.ones(2)))
    with pytest.raises(UnsupportedModelError, match=r"layers\[0\] \(lstm\)"):
        read_rtneural(read)
    behind = model(layer("conv1d", 3, np.ones((3, 3, 3))), gru_layer(rng), layer("conv2d", 1), gru_layer(rng))
    with pytest.raises(UnsupportedModelError, match=r"layers\[0\] \(conv1d\)[\s\S]*layers\[2\] \(conv2d\)"):
        read_rtneural(behind.replace(b'"shape": [null, null, 1]', b'"shape": [null, 1, null, 1]'))
    dense = layer("dense", 2, np.ones((7, 2)), np.ones(2))
    for unknown in (layer("lstm", 8), layer("flatten", 3), layer("lstm", 8) | {"weights": {"W": [1.0]}}):
        with pytest.raises(UnsupportedModelError, match=r"layers\[0\] \((lstm|flatten)\)"):
            read_rtneural(model(unknown, dense))
    with pytest.raises(InvalidModelError, match=r"bytes>: layers\[1\] \(dense\): weights\[0\]"):
        read_rtneural(model(layer("dense", 8, np.ones((3, 8)), np.ones(8)), dense))


def test_what_trainers_write_around_the_layers_is_passed_over() -> None:
    around = {"samplerate": 44100, "author": "me", "esr": 0.01, "input_batch": [[0.5]], "output_batch": [[0.25]]}
    assert read_rtneural(model(gru_layer(np.random.default_rng(0)), **around)).num_parameters == 42


def test_what_the_format_does_not_define_is_not_passed_over() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(UnsupportedModelError, match="'in_skip'"):
        read_rtneural(model(gru_layer(rng), in_skip=1))
    assert read_rtneural(model(gru_layer(rng), in_skip=0, metadata={"author": "me"})).num_parameters == 42
    with pytest.raises(UnsupportedModelError, match="two axes"):
        read_rtneural(json.dumps({"in_shape": [None, None, 2, 3], "layers": [1]}).encode())


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (lambda m: m["layers"][0].update(shape=[None, None, 5]), r"expected numbers of \(3, 15\)"),
        (lambda m: m["layers"][0]["weights"].pop(), r"weights\[2\] is missing"),
        (lambda m: m["layers"][0]["weights"][0].append([1]), "its rows have different lengths"),
        (lambda m: m["layers"][0]["weights"].__setitem__(0, "x"), r"weights\[0\]"),
        (lambda m: m["layers"][0]["weights"].__setitem__(2, [0.0] * 6), r"expected numbers of \(2, 6\)"),
        (lambda m: m["layers"][0].update(weights=None), "'weights' a list"),
        (lambda m: m["layers"][0].update(activation=None), "'activation' must be a text"),
        (lambda m: m["layers"].insert(0, 3), r"layers\[0\] is 3"),
        (lambda m: m.update(layers=[]), "'layers' must be a list"),
        (lambda m: m.update(layers={}), "'layers' must be a list"),
        (lambda m: m.update(in_shape=None), "in_shape is None"),
        (lambda m: m.update(in_shape=[None, 10**30]), "in_shape is"),
        (lambda m: m.pop("in_shape"), "'in_shape' and 'layers'"),
        (lambda m: m.update(layers=[{"type": "activation", "shape": [3]}]), "no layer computes anything"),
    ],
)
def test_contradictions_name_the_layer(change: Any, part: str) -> None:
    data = json.loads(model(gru_layer(np.random.default_rng(0))))
    change(data)
    with pytest.raises(InvalidModelError, match=part):
        read_rtneural(json.dumps(data).encode())


def test_weights_that_nobody_reads() -> None:
    data = json.loads(model(gru_layer(np.random.default_rng(0))))
    data["layers"][0]["weights"].append([1])
    with pytest.raises(UnreadTensorsError, match=r"weights\[3\] of 4 is not read; allow_unread=True"):
        read_rtneural(json.dumps(data).encode())
    assert read_rtneural(json.dumps(data).encode(), allow_unread=True).nodes


def test_a_state_dict_is_another_format() -> None:
    assert not is_rtneural({"gru.weight_ih_l0": [[1.0]]})
    assert is_rtneural({"in_shape": [], "layers": []})
    assert not is_rtneural([])


MODEL = json.loads(model(gru_layer(np.random.default_rng(0)), layer("dense", 1, np.ones((2, 1)), np.ones(1))))
VALUES = st.sampled_from([None, 0, -1, 2**70, 1.5, float("nan"), "gru", [], [[]], [None], {}, True, [[1, 2], [3]]])


@given(st.data())
def test_anything_anywhere_ends_in_an_error_of_ours(data: st.DataObject) -> None:
    changed = copy.deepcopy(MODEL)
    places: list[Any] = []

    def collect(value: Any) -> None:
        for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
            places.append((value, key))
            collect(value[key])

    collect(changed)
    holder, key = places[data.draw(st.integers(0, len(places) - 1))]
    holder[key] = data.draw(VALUES)
    try:
        read_rtneural(json.dumps(changed).encode())
    except FastGRUError:
        pass
