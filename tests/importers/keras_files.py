"""Keras models written without Keras: configurations as its versions write them, weights by h5py."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

h5py = pytest.importorskip("h5py")

Array = NDArray[Any]
Layers = Mapping[str, Sequence[tuple[str, Array]]]


def legacy(
    config: Any, weights: Layers, *, version: str | None = "2.2.4", backend: str | None = None, **more: Array
) -> bytes:
    """A whole-model .h5: `weights` are the arrays of each layer by name. more: other datasets."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file.attrs["model_config"] = (config if isinstance(config, str) else json.dumps(config)).encode()
        if version is not None:
            file.attrs["keras_version"] = version.encode()
        if backend is not None:
            file.attrs["backend"] = backend.encode()
        group = file.create_group("model_weights")
        group.attrs["layer_names"] = [name.encode() for name in weights]
        for layer, arrays in weights.items():
            inner = group.create_group(layer)
            inner.attrs["weight_names"] = [name.encode() for name, _ in arrays]
            for name, array in arrays:
                inner[name] = array
        for path, array in more.items():
            file[path] = array
    return buffer.getvalue()


def archive(config: Any, arrays: Mapping[str, Array], *, version: str = "3.5.0") -> bytes:
    """A .keras archive; `arrays` by their paths in model.weights.h5."""
    weights = io.BytesIO()
    with h5py.File(weights, "w") as file:
        for path, array in arrays.items():
            file[path] = array
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as members:
        members.writestr("metadata.json", json.dumps({"keras_version": version}))
        members.writestr("config.json", config if isinstance(config, str) else json.dumps(config))
        members.writestr("model.weights.h5", weights.getvalue())
    return buffer.getvalue()


def layer(class_name: str, name: str, **config: Any) -> dict[str, Any]:
    return {"class_name": class_name, "config": {"name": name, **config}}


def sequential(*layers: Mapping[str, Any]) -> dict[str, Any]:
    return {"class_name": "Sequential", "config": {"name": "model", "layers": list(layers)}}


def functional(*layers: Mapping[str, Any], inputs: Any, outputs: Any) -> dict[str, Any]:
    config = {"name": "model", "layers": list(layers), "input_layers": inputs, "output_layers": outputs}
    return {"class_name": "Model", "config": config}


def node(data: dict[str, Any], *calls: Any) -> dict[str, Any]:
    """A layer of a functional model, called as `calls` say."""
    return {**data, "name": data["config"]["name"], "inbound_nodes": list(calls)}


def gru_arrays(rng: np.random.Generator, inputs: int, units: int, *, reset_after: bool) -> list[Array]:
    """kernel, recurrent kernel and bias of a GRU of Keras 2."""
    bias = (2, 3 * units) if reset_after else (3 * units,)
    return [rng.normal(0, 0.5, shape).astype("f4") for shape in ((inputs, 3 * units), (units, 3 * units), bias)]


def gru_by_hand(
    x: Array, kernel: Array, recurrent: Array, bias: Array, *, gate: Any, candidate: Any = np.tanh
) -> Array:
    """(N, T, H): Keras's GRU as its documentation writes it, in float64; reset after where the bias has two rows."""
    x, kernel, recurrent, bias = (np.asarray(a, np.float64) for a in (x, kernel, recurrent, bias))
    H, after = recurrent.shape[0], bias.ndim == 2
    b_x, b_h = bias if after else (bias, np.zeros_like(bias))
    h, steps = np.zeros((x.shape[0], H)), []
    for t in range(x.shape[1]):
        x_z, x_r, x_h = np.split(x[:, t] @ kernel + b_x, 3, axis=1)
        R_z, R_r, R_h = np.split(recurrent, 3, axis=1)
        b_z, b_r, b_n = np.split(b_h, 3)
        z, r = gate(x_z + h @ R_z + b_z), gate(x_r + h @ R_r + b_r)
        n = candidate(x_h + (r * (h @ R_h + b_n) if after else (r * h) @ R_h))
        h = z * h + (1 - z) * n
        steps.append(h)
    return np.stack(steps, axis=1)


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def hard_sigmoid_of_keras_2(x: Array) -> Array:
    return np.clip(0.2 * x + 0.5, 0, 1)
