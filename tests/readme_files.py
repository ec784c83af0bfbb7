"""The files that the README speaks of, under the names that it gives them."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import save_file

__all__ = ["draw", "make_readme_files", "save_gru"]

ROOT = Path(__file__).parent.parent
DATA = ROOT / "tests" / "data"


def make_readme_files(folder: Path) -> None:
    """Small models of every kind that the README loads, and the shipped one at its place in a clone."""
    rng = np.random.default_rng(0)
    make_onnx(folder / "model.onnx", rng)
    make_tagger(folder / "tagger.safetensors", rng)
    make_rtneural(folder / "model.json", rng)
    make_tensorflow_1(folder / "weights.npz", rng)
    np.save(folder / "x.npy", draw(rng, 100, 1, 40))
    pairs = np.random.default_rng(3)
    np.savez(folder / "pairs.npz", x=draw(pairs, 20, 20, 40), targets=pairs.integers(0, 10, (20, 20)))
    np.save(folder / "frames.npy", draw(rng, 2, 7, 3))
    shutil.copy(DATA / "torch" / "nested.tar", folder / "checkpoint.tar")
    shutil.copy(DATA / "architecture" / "mask.pt", folder / "mask.pt")
    make_gains(folder / "gains.safetensors", rng)
    with zipfile.ZipFile(DATA / "keras" / "keras3.zip") as keras:
        (folder / "model.keras").write_bytes(keras.read("sequential.keras"))
        with zipfile.ZipFile(keras.open("sequential.keras")) as parts:  # what to_json and save_weights write
            (folder / "network.json").write_bytes(parts.read("config.json"))
            (folder / "network.weights.h5").write_bytes(parts.read("model.weights.h5"))
    with zipfile.ZipFile(DATA / "keras" / "keras2.zip") as keras:
        (folder / "model.h5").write_bytes(keras.read("sequential.h5"))
    with zipfile.ZipFile(DATA / "keras" / "keras3_custom.zip") as keras:
        (folder / "own_code.keras").write_bytes(keras.read("own_code.keras"))
    shipped = folder / "fastgru" / "data"
    shipped.mkdir(parents=True)
    shutil.copy(ROOT / "fastgru" / "data" / "demo.safetensors", shipped)


def draw(rng: np.random.Generator, *shape: int) -> NDArray[np.float32]:
    """Numbers of the size of trained weights."""
    return 0.3 * rng.standard_normal(shape, dtype=np.float32)


def make_onnx(path: Path, rng: np.random.Generator) -> None:
    """x (T, N, 40), h0 (1, N, 64) -> y (T, N, 10), hn: a GRU with the reset after, and a linear layer."""
    I, H, O = 40, 64, 10
    shapes = {"W": (1, 3 * H, I), "R": (1, 3 * H, H), "B": (1, 6 * H), "fc.weight": (H, O), "fc.bias": (O,)}
    save_gru(path, {name: draw(rng, *shape) for name, shape in shapes.items()})


def save_gru(path: Path, weights: Mapping[str, NDArray[np.float32]], *, state: bool = True) -> None:
    """x (T, N, I), h0 (1, N, H) -> y (T, N, O), hn, or x -> y alone: ONNX's W, R and B, fc.weight (H, O), fc.bias."""
    (_, _, I), (H, O) = weights["W"].shape, weights["fc.weight"].shape
    nodes = [
        helper.make_node(
            "GRU",
            ["x", "W", "R", "B", *["", "h0"] * state],
            ["Y", "hn"],
            name="gru",
            hidden_size=H,
            linear_before_reset=1,
        ),
        helper.make_node("Squeeze", ["Y", "axes"], ["s"]),
        helper.make_node("MatMul", ["s", "fc.weight"], ["m"]),
        helper.make_node("Add", ["m", "fc.bias"], ["y"]),
    ]
    kinds = {"x": ["T", "N", I], "h0": [1, "N", H], "y": ["T", "N", O], "hn": [1, "N", H]}
    infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in kinds.items()]
    constants = {**weights, "axes": np.array([1])}
    initializers = [numpy_helper.from_array(np.ascontiguousarray(array), name) for name, array in constants.items()]
    graph = helper.make_graph(nodes, "frames", infos[: 1 + state], infos[2 : 3 + state], initializers)
    model = helper.make_model(graph, producer_name="tests", opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    onnx.save(model, path)


def make_gains(path: Path, rng: np.random.Generator) -> None:
    """A torch state dict: GRU(15, 6) "gru", Linear(6, 15) "fc"."""
    I, H = 15, 6
    shapes = {"gru.weight_ih_l0": (3 * H, I), "gru.weight_hh_l0": (3 * H, H), "fc.weight": (I, H), "fc.bias": (I,)}
    biases = {"gru.bias_ih_l0": (3 * H,), "gru.bias_hh_l0": (3 * H,)}
    save_file({name: draw(rng, *shape) for name, shape in {**shapes, **biases}.items()}, path)


def make_tagger(path: Path, rng: np.random.Generator) -> None:
    """A torch state dict: Embedding(50, 16) "emb", GRU(16, 32, bidirectional) "gru", Linear(64, 5) "fc"."""
    V, E, H, O = 50, 16, 32, 5
    state = {"emb.weight": draw(rng, V, E), "fc.weight": draw(rng, O, 2 * H), "fc.bias": draw(rng, O)}
    for suffix in ("", "_reverse"):
        state[f"gru.weight_ih_l0{suffix}"] = draw(rng, 3 * H, E)
        state[f"gru.weight_hh_l0{suffix}"] = draw(rng, 3 * H, H)
        state[f"gru.bias_ih_l0{suffix}"] = draw(rng, 3 * H)
        state[f"gru.bias_hh_l0{suffix}"] = draw(rng, 3 * H)
    save_file(state, path)


def make_rtneural(path: Path, rng: np.random.Generator) -> None:
    """One sample in, one out: GRU(1, 8), Dense(1)."""
    H = 8
    gru = [draw(rng, 1, 3 * H).tolist(), draw(rng, H, 3 * H).tolist(), draw(rng, 2, 3 * H).tolist()]
    dense = [draw(rng, H, 1).tolist(), draw(rng, 1).tolist()]
    layers = [
        {"type": "gru", "activation": "", "shape": [None, None, H], "weights": gru},
        {"type": "dense", "activation": "", "shape": [None, None, 1], "weights": dense},
    ]
    path.write_text(json.dumps({"in_shape": [None, None, 1], "layers": layers}), encoding="utf-8")


def make_tensorflow_1(path: Path, rng: np.random.Generator) -> None:
    """The variables of TensorFlow 1's GRUCell(24) over 12 inputs."""
    I, H = 12, 24
    np.savez(
        path,
        gates_kernel=draw(rng, I + H, 2 * H),
        gates_bias=draw(rng, 2 * H),
        candidate_kernel=draw(rng, I + H, H),
        candidate_bias=draw(rng, H),
    )
