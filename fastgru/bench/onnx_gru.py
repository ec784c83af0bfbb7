"""The GRU of a case as an ONNX file: inputs x, h0?, lengths?; outputs y and h_n.

ONNX orders the gates z, r, n, has (D, 3H, .) weights and (D, 6H) biases, and returns y as (T, D, N, H). With one
direction this is our (T, N, H) with an additional axis of size one, and is not changed, so that no runtime pays for a
copy. With two directions, or between layers, a Transpose and a Reshape make it (T, N, D * H), as PyTorch's exporter
does.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from fastgru.bench.cases import Case
from fastgru.precisions import float_dtype_of
from fastgru.spec import GRUWeights

__all__ = ["onnx_bytes", "onnx_model"]

_OPSET, _IR_VERSION = 17, 8  # old enough for every runtime that is still in use


def _swap_rz(array: NDArray[Any]) -> NDArray[Any]:
    """Reorder our gates r, z, n to ONNX's z, r, n."""
    r, z, n = np.split(array, 3)
    return np.concatenate([z, r, n])


def _layer_constants(k: int, weights: Sequence[GRUWeights]) -> list[Any]:
    def stack(parts: list[NDArray[Any]], name: str) -> Any:
        return numpy_helper.from_array(np.stack(parts), f"{name}{k}")

    biases = [(w.bias_ih, w.bias_hh) for w in weights]
    return [
        stack([_swap_rz(w.weight_ih) for w in weights], "W"),
        stack([_swap_rz(w.weight_hh) for w in weights], "R"),
        stack([np.concatenate([_swap_rz(b) for b in pair if b is not None]) for pair in biases], "B"),
    ]


def _join_directions(raw: str, joined: str, D: int) -> list[Any]:
    """Make nodes from (T, D, N, H) to (T, N, D * H)."""
    if D == 1:
        return [helper.make_node("Squeeze", [raw, "direction_axis"], [joined])]
    return [
        helper.make_node("Transpose", [raw], [f"{raw}_transposed"], perm=[0, 2, 1, 3]),
        helper.make_node("Reshape", [f"{raw}_transposed", "joined"], [joined]),
    ]


def onnx_model(case: Case, weights: Sequence[Sequence[GRUWeights]]) -> bytes:
    """Return the file, with every size fixed for runtimes that plan for static shapes. The weights must have biases."""
    kind = {"float32": TensorProto.FLOAT, "float64": TensorProto.DOUBLE}[float_dtype_of(case.precision)]
    T, N, D, H = case.T, case.N, case.directions, case.H
    if case.kind == "block":  # the rivals get one call per frame
        T = 1
    carries = case.kind != "sequence"
    inputs = [helper.make_tensor_value_info("x", kind, (T, N, case.I))]
    inputs += [helper.make_tensor_value_info("lengths", TensorProto.INT32, (N,))] if case.lengths else []
    inputs += [helper.make_tensor_value_info("h0", kind, (D, N, H))] if carries else []
    nodes, constants = [], []
    x = "x"
    for k, layer in enumerate(weights):
        last = k == len(weights) - 1
        raw = "y" if D == 1 and last else f"raw{k}"
        # For a step, only the next state is needed.
        outputs = ["", "h_n"] if carries else [raw, "h_n"] if case.layers == 1 else [raw]
        nodes.append(
            helper.make_node(
                "GRU",
                [x, f"W{k}", f"R{k}", f"B{k}", "lengths" if case.lengths else "", "h0" if carries else ""],
                outputs,
                name=f"gru{k}",
                hidden_size=H,
                direction="bidirectional" if D == 2 else "forward",
                linear_before_reset=int(case.reset_after),
            )
        )
        constants += _layer_constants(k, layer)
        if raw != "y":
            x = "y" if last else f"x{k + 1}"
            nodes += _join_directions(raw, x, D)
    used = {name for node in nodes for name in node.input}
    sizes = {"joined": np.array([T, N, D * H]), "direction_axis": np.array([1])}
    constants += [numpy_helper.from_array(array, name) for name, array in sizes.items() if name in used]
    y_shape = (T, N, D * H) if D == 2 else (T, D, N, H)
    made = [] if carries else [helper.make_tensor_value_info("y", kind, y_shape)]
    made += [helper.make_tensor_value_info("h_n", kind, (D, N, H))] if case.layers == 1 else []
    graph = helper.make_graph(nodes, case.slug, inputs, made, constants)
    return onnx_bytes(graph, _OPSET, _IR_VERSION)


def onnx_bytes(graph: Any, opset: int, ir_version: int) -> bytes:
    """Return a file that onnx's checker has accepted."""
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir_version)
    onnx.checker.check_model(model)
    serialized: bytes = model.SerializeToString()
    return serialized
