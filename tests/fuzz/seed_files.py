"""Valid little files of every format, each with its reader and the mutation that suits it: one table, FORMATS."""

from __future__ import annotations

import io
import json
import random
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from mutate import mutate_bytes, mutate_json, mutate_safetensors, mutate_zip

from fastgru.graph import Graph, Node, TensorSpec
from fastgru.graphfile import graph_to_bytes
from fastgru.importers.weights import read_weights
from fastgru.load import load_graph
from fastgru.spec import GRUSpec
from fastgru.tensorfile import tensor_file_chunks

__all__ = ["FORMATS", "Format"]

DATA = Path(__file__).parent.parent / "data"
I, H = 3, 2


@dataclass(frozen=True)
class Format:
    """seeds: makes the valid files. read: reads one, and looks at every number in it. mutate: spoils one."""

    seeds: Callable[[], list[bytes]]
    read: Callable[[bytes | Path], None]
    mutate: Callable[[bytes, random.Random], bytes]


def touch_weights(content: bytes | Path) -> None:
    for array in read_weights(content).values():
        array.tobytes()


def touch_graph(content: bytes | Path) -> None:
    graph = load_graph(content).validate()
    for array in graph.constants.values():
        array.tobytes()


def random_arrays() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(7)
    shapes = {"weight_ih": (3 * H, I), "weight_hh": (3 * H, H), "bias_ih": (3 * H,), "bias_hh": (3 * H,)}
    return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


def state_dict() -> dict[str, np.ndarray]:
    return {f"gru.{name}_l0": array for name, array in random_arrays().items()} | {"steps": np.array(3)}


def onnx_files() -> list[bytes]:
    from onnx import TensorProto, helper, numpy_helper

    arrays = random_arrays()
    W, R = arrays["weight_ih"][None], arrays["weight_hh"][None]
    B = np.concatenate([arrays["bias_ih"], arrays["bias_hh"]])[None]

    def model(nodes: list[Any], initializers: dict[str, np.ndarray]) -> bytes:
        graph = helper.make_graph(
            nodes,
            "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["T", 1, I])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
            [numpy_helper.from_array(array, name) for name, array in initializers.items()],
        )
        proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
        return bytes(proto.SerializeToString())

    gru = partial(helper.make_node, "GRU", hidden_size=H, linear_before_reset=1)
    rest = [
        helper.make_node("Squeeze", ["h", "one"], ["s"]),
        helper.make_node("Reshape", ["s", "shape"], ["flat"]),
        helper.make_node("Slice", ["flat", "from", "to", "axis"], ["cut"]),
        helper.make_node("Concat", ["cut", "cut"], ["both"], axis=1),
        helper.make_node("Softmax", ["both"], ["y"], axis=-1),
    ]
    shapes = {"one": [1], "shape": [0, -1], "from": [0], "to": [1], "axis": [-1]}
    return [
        model([gru(["x", "W", "R", "B"], ["y"])], {"W": W, "R": R, "B": B}),
        model(
            [gru(["x", "W", "R", "", "", ""], ["h"], activations=["Sigmoid", "Affine"], activation_alpha=[1.0]), *rest],
            {"W": W, "R": R} | {name: np.array(value) for name, value in shapes.items()},
        ),
    ]


def torch_files(form: str) -> list[bytes]:
    return [(DATA / "weights" / f"{stem}.{form}.pt").read_bytes() for stem in ("checkpoint", "views", "dtypes")]


def npz_files() -> list[bytes]:
    files = []
    for save in (np.savez, np.savez_compressed):
        buffer = io.BytesIO()
        save(buffer, **state_dict())  # type: ignore[arg-type]
        files.append(buffer.getvalue())
    return files


def json_state_files() -> list[bytes]:
    arrays = {name: array.round(2).tolist() for name, array in state_dict().items()}
    return [json.dumps(arrays).encode(), json.dumps({"epoch": 1, "model": arrays}).encode()]


def rtneural_files() -> list[bytes]:
    arrays = random_arrays()
    gru = {
        "type": "gru", "activation": "", "shape": [None, None, H],
        "weights": [
            arrays["weight_ih"].T.tolist(), arrays["weight_hh"].T.tolist(),
            [arrays["bias_ih"].tolist(), arrays["bias_hh"].tolist()],
        ],
    }  # fmt: skip
    dense = {"type": "dense", "activation": "tanh", "shape": [None, None, 1], "weights": [[[0.5], [0.25]], [0.125]]}
    return [json.dumps({"in_shape": [None, None, I], "layers": [gru, dense]}).encode()]


def safetensors_files() -> list[bytes]:
    return [b"".join(tensor_file_chunks(state_dict(), {"format": "pt"}))]


def graph_files() -> list[bytes]:
    names = tuple(random_arrays())
    graph = Graph(
        inputs=(TensorSpec("x", "float32", (None, 1, I), ("T", None, None)),),
        outputs=(TensorSpec("y", "float32", (None, 1, H), ("T", None, None)),),
        nodes=(
            Node("gru", ("x", "", "", "", *names), ("h", ""), {"spec": GRUSpec(I, H).to_dict()}, "gru"),
            Node("activation", ("h",), ("y",), {"kind": "leaky_relu", "alpha": 0.1, "beta": 0.0}),
        ),
        constants=random_arrays(),
        meta={"producer": "tests"},
    )
    quantised = Graph(
        inputs=(TensorSpec("x", "float32", (None, I)),),
        outputs=(TensorSpec("y", "float32", None),),
        nodes=(
            Node("dequantize", ("w/int8", "w/scale"), ("w",), {"axis": 0}),
            Node("linear", ("x", "w"), ("y",), {}),
        ),
        constants={"w/int8": np.arange(2 * I, dtype=np.int8).reshape(2, I), "w/scale": np.ones(2, np.float32)},
        precisions={"y": "int8"},
    )
    return [graph_to_bytes(graph), graph_to_bytes(quantised)]


def keras_layers(*, version: int) -> dict[str, Any]:
    recurrent = {
        "units": H,
        "activation": "tanh",
        "recurrent_activation": "sigmoid",
        "use_bias": True,
        "reset_after": True,
    }
    recurrent |= {"return_sequences": True, "go_backwards": False, "stateful": False, "name": "gru", "dtype": "float32"}
    dense = {"name": "dense", "units": 1, "activation": "linear", "use_bias": True, "dtype": "float32"}
    batch_shape = "batch_input_shape" if version == 2 else "batch_shape"
    layers = [
        {"class_name": "InputLayer", "config": {batch_shape: [None, None, I], "dtype": "float32", "name": "input"}},
        {"class_name": "GRU", "config": recurrent},
        {"class_name": "Dense", "config": dense},
    ]
    return {"class_name": "Sequential", "config": {"name": "sequential", "layers": layers}}


def keras_arrays() -> dict[str, list[tuple[str, np.ndarray]]]:
    arrays = random_arrays()
    bias = np.stack([arrays["bias_ih"], arrays["bias_hh"]])
    return {
        "gru": [("kernel", arrays["weight_ih"].T), ("recurrent_kernel", arrays["weight_hh"].T), ("bias", bias)],
        "dense": [("kernel", np.ones((H, 1), np.float32)), ("bias", np.ones(1, np.float32))],
    }


def hdf5_files() -> list[bytes]:
    """Whole models of Keras 2, in the oldest and the newest form of HDF5, plain and compressed."""
    import h5py

    files = []
    for version, options in (("earliest", {}), ("latest", {}), ("earliest", {"compression": "gzip", "shuffle": True})):
        buffer = io.BytesIO()
        with h5py.File(buffer, "w", libver=version) as file:
            file.attrs["keras_version"] = "2.4.0"
            file.attrs["backend"] = "tensorflow"
            file.attrs["model_config"] = json.dumps(keras_layers(version=2))
            weights = file.create_group("model_weights")
            weights.attrs["layer_names"] = [b"gru", b"dense"]
            for layer, arrays in keras_arrays().items():
                group = weights.create_group(layer)
                group.attrs["weight_names"] = [f"{layer}/{name}:0".encode() for name, _ in arrays]
                for name, array in arrays:
                    group.create_dataset(f"{layer}/{name}:0", data=array, **options)
        files.append(buffer.getvalue())
    return files


def keras_files() -> list[bytes]:
    import h5py

    weights = io.BytesIO()
    with h5py.File(weights, "w") as file:
        for layer, arrays in keras_arrays().items():
            folder = f"layers/{layer}/cell/vars" if layer == "gru" else f"layers/{layer}/vars"
            for number, (_, array) in enumerate(arrays):
                file[f"{folder}/{number}"] = array
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": "3.5.0"}))
        archive.writestr("config.json", json.dumps(keras_layers(version=3)))
        archive.writestr("model.weights.h5", weights.getvalue())
    return [buffer.getvalue()]


def mutate_hdf5(content: bytes, rng: random.Random) -> bytes:
    """Half of the time the configuration, whose length must stay; else the bytes."""
    start, stop = content.find(b'{"class_name"'), content.find(b"]}}", content.find(b'{"class_name"')) + 3
    if rng.random() < 0.5 and 0 <= start < stop:
        text = mutate_json(content[start:stop], rng)[: stop - start]
        return content[:start] + text.ljust(stop - start) + content[stop:]
    return mutate_bytes(content, rng)


def mutate_member(name: str, content: bytes, rng: random.Random) -> bytes:
    return mutate_json(content, rng) if name.endswith(".json") else mutate_bytes(content, rng)


def mutate_pickled(content: bytes, rng: random.Random) -> bytes:
    """The opcodes rather than the storages behind them: a legacy file has its pickles first."""
    if rng.random() < 0.3:
        return mutate_bytes(content, rng)
    end = len(content) - 2000 if len(content) > 4000 else len(content) // 2
    return mutate_bytes(content[:end], rng) + content[end:]


FORMATS = {
    "graph": Format(graph_files, touch_graph, mutate_safetensors),
    "hdf5-model": Format(hdf5_files, touch_graph, mutate_hdf5),
    "hdf5-weights": Format(hdf5_files, touch_weights, mutate_bytes),
    "json-state": Format(json_state_files, touch_weights, mutate_json),
    "keras": Format(keras_files, touch_graph, partial(mutate_zip, inner=mutate_member)),
    "npz": Format(npz_files, touch_weights, partial(mutate_zip, inner=mutate_member)),
    "onnx": Format(onnx_files, touch_graph, mutate_bytes),
    "rtneural": Format(rtneural_files, touch_graph, mutate_json),
    "safetensors": Format(safetensors_files, touch_weights, mutate_safetensors),
    "torch-legacy": Format(partial(torch_files, "legacy"), touch_weights, mutate_pickled),
    "torch-zip": Format(partial(torch_files, "zip"), touch_weights, partial(mutate_zip, inner=mutate_member)),
}
