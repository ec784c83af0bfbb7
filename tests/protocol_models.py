"""Models for tests of the protocol, and requests to them."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from fastgru import GRU, Gate, Linear, Model, Sequential
from fastgru.graph import Graph, Node, TensorSpec

I, H, O = 8, 8, 3
DATATYPES = {
    "FP32": "float32",
    "FP64": "float64",
    "INT8": "int8",
    "INT16": "int16",
    "INT32": "int32",
    "INT64": "int64",
    "UINT8": "uint8",
    "UINT16": "uint16",
    "BOOL": "bool",
}


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng((seed, *shape)).standard_normal(shape).astype(np.float32) / 2


def stateful() -> Model:
    """x (T, N, 8) -> y (T, N, 3), with the state h0."""
    gate = [Gate(normal(H, I, seed=k), normal(H, H, seed=k + 3)) for k in range(3)]
    gru = GRU.from_gates(reset=gate[0], update=gate[1], candidate=gate[2])
    return Model(Sequential(gru, Linear(normal(O, H))).to_graph(initial_state=True))


def stateless() -> Model:
    """a (N, 2), b (N, 2) -> total, ratio, both (N, 2)."""
    shape = (None, 2)
    inputs = TensorSpec("a", "float32", shape), TensorSpec("b", "float32", shape)
    outputs = TensorSpec("total", "float32", shape), TensorSpec("ratio", "float32", shape)
    nodes = (
        Node("binary", ("a", "b"), ("total",), {"kind": "add"}),
        Node("binary", ("a", "b"), ("ratio",), {"kind": "div"}),
    )
    return Model(Graph(inputs, outputs, nodes, {}))


def of_dtype(dtype: str, columns: int = 3) -> Model:
    """x (N, columns) -> the same."""
    shape = (None, columns)
    spec = TensorSpec("x", dtype, shape), TensorSpec("y", dtype, shape)
    node = Node("cast", ("x",), ("y",), {"to": dtype})
    return Model(Graph((spec[0],), (spec[1],), (node,), {}), precision="float64" if dtype == "float64" else None)


def tensor(name: str, datatype: str, array: np.ndarray, **more: Any) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": list(array.shape), **more}


def in_json(x: np.ndarray, **parameters: Any) -> dict[str, Any]:
    """A request to `stateful`."""
    given = tensor("x", "FP32", x, data=x.ravel().tolist())
    return {"inputs": [given], "parameters": parameters} if parameters else {"inputs": [given]}


def in_bytes(x: np.ndarray, **parameters: Any) -> tuple[bytes, dict[str, str]]:
    """The same by the binary extension, as tritonclient writes it: body and headers."""
    given = tensor("x", "FP32", x, parameters={"binary_data_size": x.nbytes})
    text = json.dumps({"inputs": [given], "parameters": {"binary_data_output": True, **parameters}}).encode()
    return text + x.tobytes(), {"Inference-Header-Content-Length": str(len(text))}
