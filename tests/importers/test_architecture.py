"""Descriptions of networks with torch's weights: every type of layer, and whole networks, give torch's numbers."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

import fastgru
from fastgru.importers.architecture import build_architecture, draft, types
from fastgru.importers.weights import Weights
from fastgru.reference import run_graph

DATA = Path(__file__).parent.parent / "data" / "architecture"
LAYERS: dict[str, Any] = json.loads((DATA / "layers.json").read_text(encoding="utf-8"))
ARRAYS = load_file(DATA / "layers.safetensors")
with np.load(DATA / "networks.npz") as networks:
    NETWORKS = dict(networks)


def golden(case: str, arrays: dict[str, Any] = ARRAYS) -> tuple[dict[str, Any], dict[str, Any], list[Any]]:
    """(state dict, inputs, outputs)."""
    state, inputs, outputs = (
        {name.removeprefix(start): a for name, a in arrays.items() if name.startswith(start)}
        for start in (f"{case}/state/", f"{case}/x/", f"{case}/y/")
    )
    return state, inputs, list(outputs.values())


def check(got: dict[str, Any], expected: list[Any], tol: float) -> None:
    assert len(got) == len(expected)
    for y, want in zip(got.values(), expected, strict=True):
        assert y.shape == want.shape
        np.testing.assert_allclose(y, want, rtol=tol, atol=tol)


@pytest.mark.parametrize("case", LAYERS)
def test_a_layer_is_that_of_torch(case: str) -> None:
    state, inputs, expected = golden(case)
    graph = build_architecture(LAYERS[case], state)
    check(run_graph(graph, inputs), expected, 1e-6)
    check(fastgru.Model(graph).run(inputs), expected, 2e-5)
    for spec, want in zip(graph.outputs, expected, strict=True):
        assert spec.shape is not None
        assert len(spec.shape) == want.ndim
        assert all(size in (None, n) for size, n in zip(spec.shape, want.shape, strict=True)), "a size it declares"


def test_every_type_is_compared_with_torch() -> None:
    seen = {layer["type"] for description in LAYERS.values() for layer in description["layers"]}
    texts = "".join(path.read_text(encoding="utf-8") for path in DATA.glob("*.yaml"))
    assert {name for name in types() if name not in seen and name not in texts} <= {
        *("AlphaDropout", "Dropout1d", "Dropout2d", "Identity", "Parameter"),
    }


@pytest.mark.parametrize("case", ["mask", "recogniser", "recommender"])
def test_a_network_is_that_of_torch(case: str, tmp_path: Path) -> None:
    _, inputs, expected = golden(case, NETWORKS)
    graph = fastgru.load_graph(DATA / f"{case}.pt", architecture=DATA / f"{case}.yaml")
    check(run_graph(graph, inputs), expected, 1e-6)
    model = fastgru.load(DATA / f"{case}.pt", architecture=DATA / f"{case}.yaml")
    check(model.run(inputs), expected, 2e-5)
    model.save(tmp_path / "saved.safetensors")
    again = fastgru.load(tmp_path / "saved.safetensors")
    for y, want in zip(again.run(inputs).values(), model.run(inputs).values(), strict=True):
        np.testing.assert_array_equal(y, want)


def test_a_state_that_a_layer_opens_streams() -> None:
    _, inputs, (expected, _) = golden("mask", NETWORKS)
    model = fastgru.load(DATA / "mask.pt", architecture=str(DATA / "mask.yaml"))
    assert model.graph.states == {"h0": "hn"}
    assert [(spec.name, spec.shape, spec.dims) for spec in model.inputs] == [
        ("spectrum", (None, None, 15), ("T", "N", None)),
        ("h0", (1, None, 6), (None, "N", None)),
    ]
    stream = model.stream(batch_size=2)
    whole = model.run({**inputs, "h0": np.zeros((1, 2, 6))})["enhanced"]
    got = np.concatenate([stream.push(frame) for frame in np.split(inputs["spectrum"], 5)])
    np.testing.assert_array_equal(got, whole)
    assert np.abs(whole - expected).max() > 1e-4, "the golden state is not zero"


def test_a_network_holds_against_its_definition() -> None:
    report = fastgru.verify(DATA / "mask.pt", architecture=DATA / "mask.yaml")
    assert report.holds
    assert {check.output for check in report.checks} == {"enhanced", "hn"}


def test_a_convolution_with_a_state_is_one_that_is_padded_on_the_left() -> None:
    rng = np.random.default_rng(2)
    state = {"c.weight": rng.standard_normal((4, 3, 3)), "c.bias": rng.standard_normal(4)}
    inputs = {"x": ["N", 3, "T"]}
    conv = {"type": "Conv1d", "name": "c", "dilation": 2}
    padded = [{"type": "ZeroPad1d", "padding": [4, 0]}, conv]
    whole = fastgru.from_architecture({"inputs": inputs, "layers": padded}, state)
    model = fastgru.from_architecture({"inputs": inputs, "layers": [{**conv, "states": {"old": "new"}}]}, state)
    assert [(s.name, s.shape, s.dims) for s in model.outputs] == [
        ("c", (None, 4, None), ("N", None, "T")),
        ("new", (None, 3, 4), ("N", None, None)),
    ]
    x = rng.standard_normal((2, 3, 12), dtype=np.float32)
    stream = model.stream(batch_size=2)
    got = np.concatenate([stream.push(part) for part in np.split(x, [1, 2, 7], axis=2)], axis=2)
    np.testing.assert_array_equal(got, whole(x))

    image = {"c.weight": rng.standard_normal((2, 1, 2, 3))}
    frames = {"type": "Conv2d", "name": "c", "padding": [0, 1], "states": {"old": "new"}}
    model = fastgru.from_architecture({"inputs": {"x": [1, 1, "T", 5]}, "layers": [frames]}, image)
    padded = [{"type": "ZeroPad2d", "padding": [0, 0, 1, 0]}, {"type": "Conv2d", "name": "c", "padding": [0, 1]}]
    whole = fastgru.from_architecture({"inputs": {"x": [1, 1, "T", 5]}, "layers": padded}, image)
    x = rng.standard_normal((1, 1, 6, 5), dtype=np.float32)
    stream = model.stream()
    got = np.concatenate([stream.push(frame) for frame in np.split(x, 6, axis=2)], axis=2)
    np.testing.assert_array_equal(got, whole(x))


def test_a_description_goes_out_as_onnx_and_comes_back() -> None:
    for case in ("mask", "recogniser", "recommender"):
        _, inputs, expected = golden(case, NETWORKS)
        model = fastgru.load(DATA / f"{case}.pt", architecture=DATA / f"{case}.yaml")
        check(fastgru.load(model.to_onnx()).run(inputs), expected, 2e-5)


def test_a_state_dict_of_rtneural(shared_models: Path) -> None:
    """torch's GRUs as nested lists in JSON: one of one layer into one of three, a linear layer, each sample a step."""
    folder = shared_models / "rtneural"
    layers = [{"type": "GRU", "prefix": "gru"}, {"type": "GRU", "prefix": "gru2", "num_layers": 3}]
    description = {"inputs": {"x": ["T", "N", 1]}, "layers": [*layers, {"type": "Linear", "prefix": "dense"}]}
    model = fastgru.load(folder / "gru_torch.json", architecture=description)
    x, y = (np.loadtxt(folder / f"gru_torch_{name}_python.csv", delimiter=",") for name in "xy")
    np.testing.assert_allclose(model(x.reshape(-1, 1, 1)).ravel(), y.ravel(), atol=1e-5)


def test_weights_under_names_of_their_own(shared_models: Path) -> None:
    """The encoder of a grapheme-to-phoneme model: `keys` says where its arrays are, `ignore` what is the decoder's."""
    keys = {f"{a}_{b}_l0": f"enc_{a[0]}_{b}" for a in ("weight", "bias") for b in ("ih", "hh")}
    description = {
        "inputs": {"ids": {"shape": ["N", "T"], "dtype": "int64"}},
        "layers": [
            {"type": "Embedding", "keys": {"weight": "enc_emb"}},
            {"name": "gru", "type": "GRU", "batch_first": True, "keys": keys},
        ],
        "outputs": "gru.h_n",
        "ignore": ["dec_*", "fc_*"],
    }
    folder = shared_models / "g2p"
    model = fastgru.load(folder / "checkpoint20.npz", architecture=description)
    with np.load(folder / "golden.npz") as wanted:
        for word in wanted["words"][:4]:
            ids = [*(ord(letter) - ord("a") + 3 for letter in str(word)), 2]
            np.testing.assert_allclose(model(np.array([ids])).ravel(), wanted[f"{word}_enc"].ravel(), atol=1e-5)


def test_a_draft_names_every_module() -> None:
    with fastgru.read_weights(DATA / "mask.pt") as weights:
        text = draft(weights)
        for name in weights:
            weights[name]
    kinds = [re.findall(r"type: (\w+), prefix: \"(\w*)\"", line) for line in text.splitlines() if "{type:" in line]
    assert [kind for (kind,) in kinds] == [
        ("Conv1d", "down"),
        ("PReLU", "act"),
        ("LayerNorm", "norm"),
        ("GRU", "gru"),
        ("Linear", "fc"),
        ("ConvTranspose1d", "up"),
    ]
    with pytest.raises(fastgru.ShapeError, match="layer 'down'"):  # a text that is read, and lacks the shape of x
        build_architecture(text.encode(), fastgru.read_weights(DATA / "mask.pt"))
    for case, description in LAYERS.items():
        state, _, _ = golden(case)
        layer = description["layers"][0]
        # Affine norms and bias-free products look like others, and are told of in comments.
        if len(description["layers"]) == 1 and state and layer["type"] in ("GRU", "LSTM", "RNN", "MultiheadAttention"):
            assert f'type: {layer["type"]}, prefix: "m"' in draft(Weights(state)), case


def test_a_draft_tells_parameters_and_groups() -> None:
    shapes = {
        "start": (1, 8), "stem.weight": (8, 1, 5), "depth.weight": (8, 1, 3), "depth.bias": (8,),
        "half.weight": (6, 4, 1), "up.weight": (6, 2, 3), "up.bias": (4,), "a.b.scale": (3, 3, 3, 3, 3),
    }  # fmt: skip
    weights = Weights({name: np.ones(shape, np.float32) for name, shape in shapes.items()})
    text = draft(weights)
    for line in (
        '{type: Parameter, key: "start"} # (1, 8)',
        '{type: Conv1d, prefix: "stem"} # 1 -> 8 channels, kernel 5',
        '{type: Conv1d, prefix: "depth", groups: 8} # 8 -> 8 channels, kernel 3; or without groups',
        '{type: Conv1d, prefix: "half", groups: 2} # 8 -> 6 channels',
        '{type: ConvTranspose1d, prefix: "up", groups: 2} # 6 -> 4 channels',
        '{type: Parameter, key: "a.b.scale"} # (3, 3, 3, 3, 3)',
    ):
        assert line in text
    whole = text.replace("x: []", "x: [N, 1, T]").replace('"a.b.scale"}', '"a.b.scale", name: s}')
    chain = [line for line in whole.splitlines() if "Parameter" not in line]
    ignored = "\n".join([*chain, "ignore: [start, a.b.scale]"])
    model = fastgru.from_architecture(ignored.encode(), {name: weights[name] for name in weights})
    assert model(np.zeros((2, 1, 20), np.float32)).shape[:2] == (2, 4)


def test_lengths_open_an_input() -> None:
    rng = np.random.default_rng(0)
    arrays = {k: rng.standard_normal(s).astype(np.float32) for k, s in (("fc.weight", (2, 8)), ("fc.bias", (2,)))}
    for end in ("", "_reverse"):
        arrays |= {
            f"gru.{name}_l0{end}": rng.standard_normal((12, *more)).astype(np.float32)
            for name, more in (("weight_ih", (3,)), ("weight_hh", (4,)), ("bias_ih", ()), ("bias_hh", ()))
        }
    layers: list[Any] = [
        {"type": "GRU", "prefix": "gru", "batch_first": True, "lengths": True},
        {"type": "LastStep", "batch_first": True, "lengths": True},
        {"type": "Linear", "prefix": "fc"},
    ]
    model = fastgru.from_architecture({"inputs": {"x": ["N", "T", 3]}, "layers": layers}, arrays)
    assert [(spec.name, spec.dtype, spec.dims) for spec in model.inputs][1:] == [("lengths", "int64", ("N",))]
    named = {"inputs": {"x": ["N", "T", 3], "n": {"shape": ["N"], "dtype": "int64"}}, "layers": [
        {**layer, "lengths": "n"} if "lengths" in layer else layer for layer in layers
    ]}  # fmt: skip
    x, n = rng.standard_normal((2, 5, 3)).astype(np.float32), np.array([5, 2])
    expected = fastgru.from_architecture(named, arrays)(x, n)
    assert np.array_equal(model(x, n), expected)
    layers[0] = {**layers[0], "lengths": False}
    with pytest.raises(fastgru.FastGRUError, match="lengths"):
        fastgru.from_architecture({"inputs": {"x": ["N", "T", 3]}, "layers": [{**layers[0], "lengths": 3}]}, arrays)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ({"type": "GRU", "prefix": "rnn.gru"}, "under the prefix 'rnn.gru'; did you mean the prefix 'net.gru'?"),
        ({"type": "GRU", "prefix": "gru"}, "did you mean the prefix 'net.gru'?"),
        ({"type": "Linear", "prefix": "net.hed"}, "did you mean the prefix 'net.head'?"),
        ({"type": "Parameter", "key": "net.head.weigth"}, "did you mean net.head.weight?"),
        ({"type": "Linaer", "prefix": "net.head"}, "did you mean Linear?"),
        ({"type": "linear", "prefix": "net.head"}, "did you mean Linear?"),
        ({"type": "GRU", "prefix": "net.gru", "batchfirst": True}, "did you mean batch_first?"),
        ({"type": "Mul", "inputs": ["X", "x"]}, "did you mean x?"),
    ],
)  # fmt: skip
def test_what_may_have_been_meant(layer: dict[str, Any], message: str) -> None:
    weights = {"net.head.weight": np.ones((2, 4)), "net.head.bias": np.ones(2)}
    weights |= {"net.gru.weight_ih_l0": np.ones((12, 3)), "net.gru.weight_hh_l0": np.ones((12, 4))}
    with pytest.raises(fastgru.FastGRUError) as caught:
        fastgru.from_architecture({"inputs": {"x": ["T", "N", 3]}, "layers": [layer]}, weights)
    assert message in str(caught.value)


def test_a_draft_of_anything_is_a_text_that_is_read() -> None:
    shapes = [(), (0,), (3,), (4, 2), (2, 0), (12, 4), (2, 3, 4), (2, 2, 2, 2), (1, 1, 1, 1, 1)]
    names = ["weight", "bias", "weight_hh_l0", "weight_hh", "running_mean", "in_proj_weight", "x", 'q"\n', "weight_g"]
    rng = np.random.default_rng(4)
    for _ in range(300):
        keys = {
            f"{p}{names[i]}": np.zeros(shapes[rng.integers(9)])
            for p in ("", "a.", "b: #.")
            for i in rng.integers(9, size=2)
        }
        text = draft(Weights(keys))
        with pytest.raises((fastgru.InvalidModelError, fastgru.ShapeError)):
            build_architecture(text.encode(), Weights(keys))
