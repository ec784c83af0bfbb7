"""One ONNX node on given arrays: by ONNX Runtime, or by onnx's reference where that does not know the node."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

__all__ = ["NoAnswerError", "evaluate_node"]

Array = NDArray[Any]

RUNTIME_OPSET = 26
# What the two oracles do not know, or where they contradict ONNX's text: (operator, how) -> reason.
BY_REFERENCE = {
    "CumProd": "ONNX Runtime has no kernel for it",
}


class NoAnswerError(Exception):
    """Neither oracle takes the node: it is not valid, or not known to them."""


def evaluate_node(
    node: NodeProto,
    opset: int,
    version: int,
    runtime_version: int,
    constants: Mapping[str, Array],
    feeds: Sequence[Mapping[str, Array]],
) -> list[dict[str, Array]]:
    """The named outputs for each of the feeds.

    version: of the operator's definition in `opset`; runtime_version: in the newest opset that ONNX Runtime takes,
    where `opset` is newer.
    """
    if any(a.name == "layout" and a.i for a in node.attribute):
        return _batch_first(node, opset, version, runtime_version, constants, feeds)
    if version == runtime_version and node.op_type not in BY_REFERENCE:
        try:
            return _by_runtime(_model(node, min(opset, RUNTIME_OPSET), constants, feeds[0]), feeds)
        except onnxruntime.capi.onnxruntime_pybind11_state.NotImplemented:
            pass
        except Exception as error:
            raise NoAnswerError(f"{node.op_type}: {error}") from None
        if any(a.dtype == np.float64 for a in (*constants.values(), *feeds[0].values())):
            return _in_float32(node, min(opset, RUNTIME_OPSET), constants, feeds)
    try:
        return _by_reference(_model(node, opset, constants, feeds[0]), feeds)
    except Exception as error:
        raise NoAnswerError(f"{node.op_type}: {error}") from None


def _batch_first(
    node: NodeProto,
    opset: int,
    version: int,
    runtime_version: int,
    constants: Mapping[str, Array],
    feeds: Sequence[Mapping[str, Array]],
) -> list[dict[str, Array]]:
    """A recurrent layer of layout 1, which no oracle knows, by the one of layout 0 on transposed arrays."""
    other = NodeProto()
    other.CopyFrom(node)
    del other.attribute[:]
    other.attribute.extend(a for a in node.attribute if a.name != "layout")
    moved = {name for i, name in enumerate(node.input) if i in (0, 5, 6)}

    def transposed(arrays: Mapping[str, Array]) -> dict[str, Array]:
        return {name: np.ascontiguousarray(a.swapaxes(0, 1)) if name in moved else a for name, a in arrays.items()}

    results = evaluate_node(
        other, opset, version, runtime_version, transposed(constants), [transposed(f) for f in feeds]
    )
    return [
        {
            name: np.ascontiguousarray(a.transpose(2, 0, 1, 3) if a.ndim == 4 else a.swapaxes(0, 1))
            for name, a in r.items()
        }
        for r in results
    ]


def _model(node: NodeProto, opset: int, constants: Mapping[str, Array], feeds: Mapping[str, Array]) -> ModelProto:
    graph = helper.make_graph(
        [node],
        "node",
        [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(a.dtype), [None] * a.ndim)
            for name, a in feeds.items()
        ],
        [helper.make_empty_tensor_value_info(name) for name in node.output if name],
        [numpy_helper.from_array(a, name) for name, a in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8 if opset < 21 else 10)


def _by_runtime(model: ModelProto, feeds: Sequence[Mapping[str, Array]]) -> list[dict[str, Array]]:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return [dict(zip(names, map(np.asarray, session.run(None, dict(f))), strict=True)) for f in feeds]


def _in_float32(
    node: NodeProto, opset: int, constants: Mapping[str, Array], feeds: Sequence[Mapping[str, Array]]
) -> list[dict[str, Array]]:
    """What ONNX Runtime has no kernel for in float64, it may have one for in float32."""

    def narrow(arrays: Mapping[str, Array]) -> dict[str, Array]:
        return {name: a.astype(np.float32) if a.dtype == np.float64 else a for name, a in arrays.items()}

    narrowed = [narrow(f) for f in feeds]
    try:
        results = _by_runtime(_model(node, opset, narrow(constants), narrowed[0]), narrowed)
    except Exception as error:
        raise NoAnswerError(f"{node.op_type}: {error}") from None
    return [{n: a.astype(np.float64) if a.dtype == np.float32 else a for n, a in r.items()} for r in results]


def _by_reference(model: ModelProto, feeds: Sequence[Mapping[str, Array]]) -> list[dict[str, Array]]:
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        session = ReferenceEvaluator(model)
        return [
            dict(zip(session.output_names, map(np.asarray, session.run(None, dict(f))), strict=True)) for f in feeds
        ]
