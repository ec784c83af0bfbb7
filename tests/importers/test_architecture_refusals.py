"""Descriptions that are wrong, hostile, or not of these weights: errors that name what came and what was expected."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import fastgru
from fastgru.errors import FastGRUError, InvalidModelError, ShapeError, UnreadTensorsError, UnsupportedModelError
from fastgru.importers.architecture import build_architecture, types

DATA = Path(__file__).parent.parent / "data"
GRU = {"type": "GRU", "prefix": "rnn"}
FC = {"type": "Linear", "name": "fc"}


def ones(*shape: int) -> Any:
    return np.full(shape, 0.1, np.float32)


def weights(**more: Any) -> dict[str, Any]:
    """GRU(5, 4) at "rnn" and Linear(4, 2) at "fc"."""
    state = {
        "rnn.weight_ih_l0": ones(12, 5),
        "rnn.weight_hh_l0": ones(12, 4),
        "rnn.bias_ih_l0": ones(12),
        "rnn.bias_hh_l0": ones(12),
        "fc.weight": ones(2, 4),
        "fc.bias": ones(2),
    }
    return {name: a for name, a in {**state, **more}.items() if a is not None}


def described(*layers: Any, **more: Any) -> dict[str, Any]:
    return {"inputs": {"x": ["T", "N", 5]}, "layers": list(layers), **more}


def test_what_is_right_is_read() -> None:
    graph = build_architecture(described(GRU, FC), weights())
    assert [node.op for node in graph.nodes] == ["gru", "linear"]
    assert [spec.name for spec in graph.outputs] == ["fc"]


@pytest.mark.parametrize(
    ("description", "kind", "words"),
    [
        (described({"type": "GRUU"}), UnsupportedModelError, ["layers[0]", "'GRUU'", "did you mean GRU?", "Conv1d"]),
        (described({"type": ["GRU"]}), UnsupportedModelError, ["layers[0]", "type ['GRU'] does not exist"]),
        (described({"name": "rnn"}), InvalidModelError, ["layers[0]", "no type"]),
        (described({**GRU, "batchfirst": True}), UnsupportedModelError, ["'batchfirst'", "did you mean batch_first"]),
        (described({"type": "ReLU", "prefix": "act"}), UnsupportedModelError, ["(ReLU)", "'prefix'", "inplace"]),
        (described({"type": "Tanh", "states": {"a": "b"}}), UnsupportedModelError, ["'states'"]),
        (described(3), InvalidModelError, ["layers[0]", "is 3"]),
        (described(GRU, layer=[]), UnsupportedModelError, ["key 'layer'", "did you mean layers"]),
        ({"layers": [GRU]}, InvalidModelError, ["inputs is missing"]),
        ({"inputs": {"x": [1]}, "layers": []}, InvalidModelError, ["layers is missing or empty"]),
        ({"inputs": {"x": [1]}, "layers": "GRU"}, InvalidModelError, ["layers is 'GRU'", "a list"]),
        ({"inputs": {"x": 5}, "layers": [GRU]}, InvalidModelError, ["input 'x' has shape 5"]),
        ({"inputs": {"x": [0]}, "layers": [GRU]}, InvalidModelError, ["input 'x' has shape [0]"]),
        ({"inputs": {"x": {"shape": [1], "dtype": "int7"}}, "layers": [GRU]}, UnsupportedModelError, ["'int7'"]),
        ({"inputs": {"x": {"shape": [1], "type": "int64"}}, "layers": [GRU]}, UnsupportedModelError, ["'type'"]),
        (described({**GRU, "batch_first": "yes"}, FC), InvalidModelError, ["'rnn' (GRU)", "batch_first is 'yes'"]),
        (described({"type": "Softmax"}), InvalidModelError, ["option dim is missing"]),
        (described({"type": "Softmax", "dim": 3}), ShapeError, ["'x' has shape (T, N, 5)", "an axis 3"]),
        (described({"type": "Softmax", "dim": 1.5}), InvalidModelError, ["dim is 1.5", "an integer"]),
        (described({"type": "Clamp", "min": float("nan")}), InvalidModelError, ["min is nan", "finite"]),
        (described({**GRU, "inputs": "y"}), InvalidModelError, ["no value 'y'", "expected one of x"]),
        (described({**GRU, "inputs": ["x", "x", "x", "x"]}), InvalidModelError, ["4 inputs, expected 1 to 3"]),
        (described({**GRU, "inputs": ["x", "x"]}), ShapeError, ["'x' has shape (T, N, 5)", "expected (1, N, 4)"]),
        (described({**GRU, "lengths": "x"}), ShapeError, ["lengths 'x' is float32", "expected int64 (N,)"]),
        (described({**GRU, "hidden_size": 5}), ShapeError, ["hidden_size is 5, but its weights have 4"]),
        (described({**GRU, "bidirectional": True}), ShapeError, ["bidirectional is True", "have False"]),
        (described({**GRU, "num_layers": 2}), ShapeError, ["num_layers is 2", "have 1"]),
        (described({**GRU, "states": {"h0": "hn", "c0": "cn"}}), InvalidModelError, ["2 states, expected 1"]),
        (described({**GRU, "states": {"x": "hn"}}), InvalidModelError, ["'x'", "occurs more than once"]),
        (described({"type": "LSTM", "prefix": "rnn"}), ShapeError, ["'rnn.weight_hh_l0'", "(12, 4)", "a GRU's"]),
        (described({"type": "GRU"}), InvalidModelError, ["the prefix of its weights is missing"]),
        (described({**GRU, "prefix": "gru"}), InvalidModelError, ["no tensor 'gru.weight_hh_l0'", "rnn.weight_ih_l0"]),
        (described(FC), ShapeError, ["'fc' (Linear)", "'fc.weight' has shape (2, 4), expected (O, 5)"]),
        (described(GRU, {**FC, "out_features": 3}), ShapeError, ["out_features is 3", "have 2"]),
        (described(GRU, {**FC, "keys": {"wieght": "fc.weight"}}), InvalidModelError, ["'wieght'", "does not have"]),
        (described(GRU, {**FC, "name": "rnn"}), InvalidModelError, ["no tensor 'rnn.weight'"]),
        (described(GRU, {**FC, "name": "x", "prefix": "fc"}), InvalidModelError, ["already has the name 'x'"]),
        (described(GRU, "Tanh", {**FC, "inputs": "rnn"}), InvalidModelError, ["no", "output needs 'tanh_1'"]),
        (described(GRU, FC, outputs=["logits"]), InvalidModelError, ["no value 'logits'", "rnn.h_n, fc"]),
        (described(GRU, FC, outputs={"x": "fc"}), InvalidModelError, ["'x' is already the name of an input"]),
        (described(GRU, FC, states={"x": "fc"}), ShapeError, ["'x' is float32 (T, N, 5)", "(T, N, 2)"]),
        (described(GRU, FC, states={"h0": "fc"}), InvalidModelError, ["'h0' -> 'fc'"]),
        (described(GRU, FC, key="model"), InvalidModelError, ["key is 'model'"]),
        (described(GRU, FC, ignore=["old.*"]), InvalidModelError, ["'old.*' matches no tensor"]),
        (described({"type": "Conv1d", "name": "fc"}), ShapeError, ["shape (2, 4), expected (O, C / 1, K)"]),
        (described({"type": "Flatten", "start_dim": 2, "end_dim": 1}), InvalidModelError, ["start_dim is 2"]),
        (described({"type": "Reshape", "shape": ["T", "N", 6]}), ShapeError, ["(T, N, 5)", "fits the shape (T, N, 6)"]),
        (described({"type": "Reshape", "shape": ["T", 5]}), ShapeError, ["all go into the shape (T, 5)"]),
        (described({"type": "Reshape", "shape": ["M", -1]}), ShapeError, ["a free dimension 'M'"]),
        (described({"type": "Reshape", "shape": [-1, -1]}), InvalidModelError, ["more than one -1"]),
        (described({"type": "GroupNorm", "prefix": "no", "num_groups": 1}), InvalidModelError, ["weight'; if"]),
        (described({"type": "LayerNorm", "prefix": "no", "normalized_shape": 5}), InvalidModelError, ["'no.weight'"]),
        (described({"type": "Upsample", "scale_factor": 1.1}), UnsupportedModelError, ["scale_factor 1.1", "whole"]),
        (described({"type": "Mean", "dim": [0, -3]}), InvalidModelError, ["dim is [0, -3]", "each axis once"]),
        (described({"type": "AdaptiveAvgPool1d", "output_size": 2}), UnsupportedModelError, ["output_size"]),
    ],
)  # fmt: skip
def test_a_fault_is_named(description: Any, kind: type[FastGRUError], words: list[str]) -> None:
    with pytest.raises(kind) as caught:
        build_architecture(description, weights())
    missing = [word for word in words if word not in str(caught.value)]
    assert not missing, str(caught.value)


def test_tensors_that_nobody_reads_are_listed() -> None:
    state = weights(**{"old.weight": ones(3), "fc.scale": ones(2)})
    with pytest.raises(
        UnreadTensorsError, match=r"2 tensor\(s\) were not read: old.weight float32\[3\], fc.scale float32"
    ):
        build_architecture(described(GRU, FC), state)
    assert build_architecture(described(GRU, FC), state, allow_unread=True).nodes
    assert build_architecture(described(GRU, FC, ignore=["old.*", "fc.s?ale"]), state).nodes


def test_weights_that_cannot_be_are_refused() -> None:
    for name, array, words in (
        ("fc.weight", np.full((2, 4), np.nan), "8 of the 8 values of 'fc.weight' are NaN"),
        ("fc.weight", np.ones((2, 4), np.int64), "'fc.weight' has dtype int64"),
        ("fc.bias", ones(3), r"'fc.bias' has shape \(3,\), expected \(2,\)"),
        ("rnn.bias_hh_l0", None, "no tensor 'rnn.bias_hh_l0'"),
        ("rnn.weight_hr_l0", ones(2, 4), "proj_size"),
        ("rnn.weight_hh_l7", ones(12, 4), "no tensor 'rnn.weight_hh_l1'"),
        ("rnn.weight_hh_l1", ones(15, 5), r"'rnn.weight_hh_l1' has shape \(15, 5\), expected \(12, 4\)"),
    ):
        with pytest.raises(FastGRUError, match=words):
            build_architecture(described(GRU, FC), weights(**{name: array}))
    with pytest.raises(InvalidModelError, match="spectral_norm"):
        build_architecture(described(GRU, FC), weights(**{"fc.weight": None, "fc.weight_orig": ones(2, 4)}))
    with pytest.raises(InvalidModelError, match="weights: got list"):
        build_architecture(described(GRU, FC), [1])  # type: ignore[arg-type]


def test_tied_weights_and_other_names() -> None:
    layers = [GRU, {"type": "Linear", "keys": {"weight": "fc.weight", "bias": "fc.bias"}}]
    graph = build_architecture(described(*layers, {"type": "Affine", "scale": 0.5}), weights())
    assert set(graph.constants) >= {"fc.weight", "fc.bias"}
    table = {"e.weight": np.eye(4, dtype=np.float32)}
    tied = {
        "inputs": {"ids": {"shape": ["N"], "dtype": "int64"}},
        "layers": [{"type": "Embedding", "prefix": "e"}, {"type": "Linear", "keys": {"weight": "e.weight"}}],
    }
    model = fastgru.from_architecture(tied, table)
    assert len(model.graph.constants) == 1
    np.testing.assert_array_equal(model(np.array([2])), [[0, 0, 1, 0]])


def test_outputs_may_be_inputs_tensors_and_one_value_twice() -> None:
    layers = [{"type": "Parameter", "name": "p", "prefix": "", "key": "p"}, {"type": "Neg", "name": "y", "inputs": "x"}]
    outputs = {"a": "y", "b": "y", "same": "x", "p": "p"}
    model = fastgru.from_architecture(
        {"inputs": {"x": ["N"]}, "layers": layers, "outputs": outputs}, {"p": np.float32([5])}
    )
    got = model.run({"x": np.float32([1, 2])})
    assert {name: a.tolist() for name, a in got.items()} == {"a": [-1, -2], "b": [-1, -2], "same": [1, 2], "p": [5]}


TEXT = "inputs: {x: [T, N, 5]}\nlayers:\n  - {type: GRU, prefix: rnn}\n  - {type: Linear, prefix: fc}\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (TEXT + "layers: []\n", "the key 'layers' occurs twice"),
        (TEXT + "name: !!python/object/apply:os.getcwd []\n", "line 5: the tag !!python/object/apply:os.getcwd is not"),
        (TEXT + "name: !!binary aGFsbG8=\n", "the tag !!binary is not implemented, expected one of !!bool"),
        (TEXT + "name: !!timestamp 2001-01-01\n", "the tag !!timestamp is not"),
        (TEXT + "name: !!timestamp x\n", "the tag !!timestamp is not"),
        (TEXT + "name: !!set {a, b}\n", "the tag !!set is not"),
        (TEXT + "name: !!omap [a: 1]\n", "the tag !!omap is not"),
        (TEXT + "name: !mine a\n", "the tag !mine is not"),
        (TEXT + "name: !!bool xyz\n", "line 5: 'xyz' is not of the type that its tag !!bool says"),
        (TEXT + "name: !!int ''\n", "'' is not of the type that its tag !!int says"),
        (TEXT + "name: !!float ''\n", "'' is not of the type that its tag !!float says"),
        (TEXT + "name: !!int 010\n", "'010' is not of the type that its tag !!int says"),
        (TEXT + "name: !!int [1]\n", "the text is not YAML"),
        (TEXT.replace("prefix: fc", "<<: {prefix: fc}"), "'<<' does not exist"),
        (TEXT.replace("prefix: fc", "!!merge <<: {prefix: fc}"), "the tag !!merge is not"),
        (TEXT + "name: [a\n", "the text is not YAML"),
        ("&a [*a]", "expected names and values"),
        ("[" * 2000, "nested too deeply"),
        ("a: " + "9" * 5000, "the text is not YAML"),
        ("# " + "x" * (1 << 18), "bytes, expected at most"),
        ("", "empty"),
        ("\n", "expected names and values"),
        ("{", "the text is not JSON"),
        ('{"inputs": {"x": [1]}, "inputs": {"x": [2]}}', "'inputs' occurs twice"),
        ("{1: 2}", "the text is not JSON"),
        ("1: 2", "expected names and values"),
        ("\udcff", "the file is not UTF-8"),
    ],
)
def test_a_text_that_is_none_is_refused(text: str, words: str) -> None:
    with pytest.raises(FastGRUError) as caught:
        build_architecture(text.encode("utf-8", "surrogateescape"), weights())
    assert words in str(caught.value)
    assert len(str(caught.value)) < 3000


def test_yaml_and_json_are_one_description(tmp_path: Path) -> None:
    (tmp_path / "net.yaml").write_text("\ufeff" + TEXT + "name: no\n", encoding="utf-8")
    (tmp_path / "net.json").write_text(json.dumps(described(GRU, FC | {"name": None, "prefix": "fc"}, name="no")))
    one, two = (build_architecture(tmp_path / name, weights()) for name in ("net.yaml", "net.json"))
    assert (one.nodes, one.inputs, one.outputs, one.name) == (two.nodes, two.inputs, two.outputs, "no")
    numbers = [{"type": "ELU", "alpha": 1e-5}, {"type": "ELU", "alpha": 0.25}, {"type": "ELU", "alpha": -2e3}]
    text = "inputs: {x: [N]}\nlayers:\n" + "".join(f"- {{type: ELU, alpha: {a}}}\n" for a in ("1e-5", ".25", "-2E+3"))
    assert (
        build_architecture(text.encode(), {}).nodes
        == build_architecture({"inputs": {"x": ["N"]}, "layers": numbers}, {}).nodes
    )
    with pytest.raises(InvalidModelError, match="alpha is '010'"):
        build_architecture(text.replace("1e-5", "010").encode(), {})


def test_an_architecture_goes_with_weights_alone(tmp_path: Path) -> None:
    np.savez(tmp_path / "state.npz", **weights())
    description = described(GRU, FC)
    assert fastgru.load(tmp_path / "state.npz", architecture=description)(ones(3, 2, 5)).shape == (3, 2, 2)
    with pytest.raises(UnsupportedModelError, match="outputs= does not apply"):
        fastgru.load(tmp_path / "state.npz", architecture=description, outputs=["rnn"])
    with pytest.raises(UnsupportedModelError, match=r"architecture= does not apply to this file \(onnx\)"):
        fastgru.load(next((DATA / "onnx").glob("*.onnx")), architecture=description)
    with pytest.raises(InvalidModelError, match="has no nested dicts"):
        fastgru.load(tmp_path / "state.npz", architecture={**description, "key": "model"})
    with pytest.raises(UnsupportedModelError, match="architecture="):
        fastgru.load(tmp_path / "state.npz")
    with pytest.raises(FileNotFoundError):
        fastgru.load(tmp_path / "state.npz", architecture="nowhere.yaml")


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 9),
    st.floats(),
    st.text(max_size=3),
    st.just("x"),
    st.lists(st.integers(-2, 5), max_size=5),
    st.dictionaries(st.sampled_from(["a", "h0", "weight"]), st.sampled_from(["b", "hn"]), max_size=2),
)


@st.composite
def layers(draw: st.DrawFn) -> dict[str, Any]:
    """A layer of any type with any options of that type, at the weights or nowhere."""
    kind = draw(st.sampled_from(list(types().values())))
    names = [name for name in kind.known if name not in ("type", "name", "prefix")]
    options = draw(st.dictionaries(st.sampled_from(names), VALUES, max_size=4))
    place = {"prefix": draw(st.sampled_from(["rnn", "fc", "conv", ""]))} if kind.has_weights else {}
    return {"type": kind.name, **place, **options}


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(layers(), min_size=1, max_size=3), st.lists(st.sampled_from([1, 2, 5, "N", None]), max_size=4))
def test_any_description_is_read_or_refused_with_an_error_of_ours(chain: list[Any], shape: list[Any]) -> None:
    state = weights(**{"conv.weight": ones(2, 5, 3), "conv.bias": ones(2)})
    with contextlib.suppress(FastGRUError):
        graph = build_architecture({"inputs": {"x": shape}, "layers": chain}, state, allow_unread=True)
        assert graph.outputs


@pytest.mark.parametrize(
    ("layer", "keys", "options"),
    [
        ("GRU", ["weight_ih_l0", "weight_hh_l0", "weight_ih_l1", "weight_hh_l1"], {"num_layers": 2}),
        ("GRU", ["weight_ih_l0", "weight_hh_l0"], {"bidirectional": True}),
        ("GRUCell", ["weight_ih", "weight_hh", "bias_ih", "bias_hh"], {"bias": True}),
    ],
)
def test_a_wrong_prefix_is_named_before_a_size(layer: str, keys: list[str], options: dict[str, Any]) -> None:
    weights = {f"rnn.{key}": np.zeros((12,) if "bias" in key else (12, 4), np.float32) for key in keys}
    network = {
        "inputs": {"x": ["N", 4] if layer == "GRUCell" else ["T", "N", 4]},
        "layers": [{"type": layer, "prefix": "gru", **options}],
    }
    with pytest.raises(InvalidModelError, match="no tensor is under the prefix 'gru'; did you mean the prefix 'rnn'"):
        fastgru.from_architecture(network, weights)
