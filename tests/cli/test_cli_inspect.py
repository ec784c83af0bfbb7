"""`fastgru inspect`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result

import fastgru
from fastgru.cli.charmodel import DATA

Invoke = Callable[..., Result]


def test_a_model_is_described(invoke: Invoke, gru_onnx: Path) -> None:
    result = invoke("inspect", gru_onnx, "--nodes")
    assert result.exit_code == 0
    for words in (
        "an ONNX model",
        "tests",
        "(T, N, 3)",
        "before",
        "sigmoid",
        "tanh",
        "forward",
        "initial state",
        "cell",
    ):
        assert words in result.stdout
    found = json.loads(invoke("inspect", gru_onnx, "--json").stdout)
    assert found["kind"] == "model"
    (gru,) = found["grus"]
    assert (gru["input_size"], gru["hidden_size"], gru["reset"], gru["bias"]) == (3, 5, "before", True)
    assert gru["parameters"] == found["parameters"] == 15 * (3 + 5 + 2)
    assert found["states"] == {"initial_h": "Y_h"}
    assert found["unsupported"] == ""


def test_the_shipped_model_is_described(invoke: Invoke) -> None:
    found = json.loads(invoke("inspect", DATA / "demo.safetensors", "--json").stdout)
    assert found["format"] == "safetensors"
    assert [(g["input_size"], g["hidden_size"], g["layout"]) for g in found["grus"]] == [
        (48, 192, "(N, T, .)"),
        (192, 192, "(N, T, .)"),
    ]
    assert found["states"] == {"h0": "hn"}
    assert found["meta"]["licence"] == "Apache-2.0"
    text = invoke("inspect", DATA / "demo.safetensors").stdout
    assert "376,911 parameters" in text
    assert "alphabet" in text


def test_the_grus_of_a_state_dict_are_found(invoke: Invoke, state_npz: Path) -> None:
    result = invoke("inspect", state_npz, "--nodes")
    assert result.exit_code == 0
    assert "rnn" in result.stdout
    assert "fc.weight" in result.stdout
    found = json.loads(invoke("inspect", state_npz, "--json").stdout)
    assert found["kind"] == "weights"
    (gru,) = found["grus"]  # an LSTM has the same names
    assert (gru["prefix"], gru["input_size"], gru["hidden_size"], gru["num_layers"]) == ("rnn", 3, 5, 2)
    assert gru["recipe"].startswith("fastgru.GRU.from_torch(weights, ")
    assert len(found["tensors"]) == 17


def test_grus_without_names_are_proposed_by_their_shapes_and_the_proposals_work(invoke: Invoke, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    arrays = {
        "emb": rng.standard_normal((7, 3)),
        "cell/0": rng.standard_normal((3, 15)),
        "cell/1": rng.standard_normal((5, 15)),
        "cell/2": rng.standard_normal((2, 15)),
        "old/0": rng.standard_normal((5, 6)),
        "old/1": rng.standard_normal((2, 6)),
        "old/2": rng.standard_normal(6),
        "enc_w": rng.standard_normal((12, 3)),
        "enc_u": rng.standard_normal((12, 4)),
        "enc_b": rng.standard_normal(12),
        "enc_c": rng.standard_normal(12),
    }
    np.savez(tmp_path / "w.npz", **{name: a.astype(np.float32) for name, a in arrays.items()})
    found = json.loads(invoke("inspect", tmp_path / "w.npz", "--json").stdout)
    assert [(g["input_size"], g["hidden_size"]) for g in found["guesses"]] == [(3, 5), (5, 2), (3, 4)]
    weights = fastgru.read_weights(tmp_path / "w.npz")
    layers = [eval(g["recipe"], {"fastgru": fastgru, "weights": weights}) for g in found["guesses"]]
    assert [layer.specs[0].reset_after for layer in layers] == [True, False, True]
    assert weights.unread == ("emb",)
    assert "cell/0" in invoke("inspect", tmp_path / "w.npz").stdout


def test_what_is_not_supported_is_listed_with_status_1(invoke: Invoke, unsupported_onnx: Path) -> None:
    result = invoke("inspect", unsupported_onnx)
    assert result.exit_code == 1
    assert "Not supported" in result.stdout
    for words in ("Unique", "the_unique", "Bernoulli", "the_other"):
        assert words in result.stdout
    found = json.loads(invoke("inspect", unsupported_onnx, "--json").stdout)
    assert "Unique" in found["unsupported"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("gtcrn/model_trained_on_dns3.tar", "dpgrnn1.intra_rnn.rnn1"),
        ("rnnoise/bd.hdf5", "before"),
        ("g2p/checkpoint20.npz", "enc_w_ih"),
        ("rtneural/gru_torch.json", "gru2"),
        ("rtneural/gru.json", "after"),
    ],
)
def test_models_of_others(invoke: Invoke, shared_models: Path, name: str, words: str) -> None:
    result = invoke("inspect", shared_models / name, "--nodes")
    assert result.exit_code == 0, result.output
    assert words in result.stdout


def test_profile_times_every_instruction(invoke: Invoke) -> None:
    file = DATA / "demo.safetensors"
    result = invoke("inspect", file, "--profile")
    assert result.exit_code == 0, result.output
    found = json.loads(invoke("inspect", file, "--profile", "--json").stdout)
    assert f"{len(found['profile'])} instructions" in result.stdout
    assert all(row["seconds"] > 0 and row["node"] for row in found["profile"])
    assert any(row["kernel"].startswith("gru_") for row in found["profile"])


def test_profile_of_what_does_not_run_is_refused(invoke: Invoke, tmp_path: Path) -> None:
    np.savez(tmp_path / "w.npz", weight_ih_l0=np.zeros((9, 2), np.float32))
    result = invoke("inspect", tmp_path / "w.npz", "--profile")
    assert result.exit_code == 2
    assert "not a model that runs" in result.output


def test_what_stays_in_float32_is_said_and_why(invoke: Invoke, gru_onnx: Path) -> None:
    for asked, of in (("auto", "bfloat16"), ("auto-int8", "int8")):
        small = invoke("inspect", gru_onnx, "--precision", asked)
        assert small.exit_code == 0
        told = " ".join(small.stdout.split())
        assert f"5 units are faster in float32: {of} pays from" in told or f"{of} may be slower than float32" in told
    obeyed = json.loads(invoke("inspect", gru_onnx, "--precision", "int8", "--json").stdout)
    assert [(w["precision"], w["why"]) for w in obeyed["weights"]] == [("int8", "")]
    assert json.loads(invoke("inspect", gru_onnx, "--json").stdout)["weights"] == []
    demo = json.loads(invoke("inspect", DATA / "demo.safetensors", "--precision", "bfloat16", "--json").stdout)
    assert demo["precision"] == "bfloat16"
    assert [(w["op"], w["precision"], w["why"]) for w in demo["weights"]] == [
        ("embedding", "bfloat16", ""),
        ("gru", "bfloat16", ""),
        ("gru", "bfloat16", ""),
        ("linear", "bfloat16", ""),
    ]
    timed = json.loads(
        invoke("inspect", DATA / "demo.safetensors", "--precision", "int8", "--profile", "--json").stdout
    )
    assert "gru_step_reset_after_int8_float32" in {row["kernel"] for row in timed["profile"]}


@pytest.mark.parametrize("names", ["gru_1/gru_1_{}", "model_weights/gru_1/gru_1_{}:0", "{}"])
def test_the_nine_arrays_of_keras_1_are_found(invoke: Invoke, tmp_path: Path, names: str) -> None:
    h5py = pytest.importorskip("h5py")
    rng = np.random.default_rng(0)
    shapes = {"W": (4, 5), "U": (5, 5), "b": (5,)}
    with h5py.File(tmp_path / "old.h5", "w") as file:
        for gate in "zrh":
            for kind, shape in shapes.items():
                file[names.format(f"{kind}_{gate}")] = rng.normal(0, 0.5, shape).astype(np.float32)
    found = json.loads(invoke("inspect", tmp_path / "old.h5", "--json").stdout)
    (guess,) = found["guesses"]
    assert (guess["input_size"], guess["hidden_size"]) == (4, 5)
    with fastgru.read_weights(tmp_path / "old.h5") as weights:
        gru = eval(guess["recipe"], {"fastgru": fastgru, "weights": weights})
    assert gru.specs[0].reset_after is False
    assert gru.specs[0].gate_activations[0].kind == "hard_sigmoid"
    assert gru.specs[0].gate_activations[0].alpha == pytest.approx(0.2)


def test_the_program_loads_every_layer_that_is_told(invoke: Invoke, tmp_path: Path) -> None:
    shapes = {
        "emb.weight": (9, 3), "gru.weight_ih_l0": (12, 3), "gru.weight_hh_l0": (12, 4), "norm.weight": (4,),
        "norm.bias": (4,), "fc.weight": (5, 4), "fc.bias": (5,), "tied.weight": (9, 5),
    }  # fmt: skip
    np.savez(tmp_path / "w.npz", **{name: np.ones(shape, np.float32) for name, shape in shapes.items()})
    code = json.loads(invoke("inspect", tmp_path / "w.npz", "--json").stdout)["code"]
    made: dict[str, object] = {}
    exec(code, made)
    kinds = {name: type(made[name]).__name__ for name in ("emb", "gru", "norm", "fc", "tied")}
    assert kinds == {"emb": "Embedding", "gru": "GRU", "norm": "LayerNorm", "fc": "Linear", "tied": "Linear"}
    assert code.splitlines()[-1].endswith("# or fastgru.Embedding")
    assert made["weights"].unread == ()  # type: ignore[attr-defined]
