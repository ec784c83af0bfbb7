"""Which node has its weights in which precision.

Activations, states, inputs and outputs stay in float32 with small weights; only products by constants, GRUs and
look-ups in constant tables have weights to make small. Everything else computes in float32 as it does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from fastgru.errors import UnsupportedModelError
from fastgru.graph import Graph, Node
from fastgru.simd.groups import INT8_LIMIT

__all__ = ["FLOAT_DTYPES", "PRECISIONS", "SMALL", "WeightPrecision", "weight_precisions"]

# The dtype that a model of each precision computes in.
FLOAT_DTYPES: Final = {"float64": "float64", "float32": "float32", "bfloat16": "float32", "int8": "float32"}
PRECISIONS: Final = tuple(FLOAT_DTYPES)
SMALL: Final = ("bfloat16", "int8")

# Below these a product is done before smaller weights could save a byte worth waiting for.
_LEAST_UNITS: Final = 64
_LEAST_INPUTS: Final = 16
_LEAST_WEIGHTS: Final = 1 << 12


@dataclass(frozen=True)
class WeightPrecision:
    """The precision of a node's weights; `why` says what kept it from the one that was asked for, "" where nothing."""

    precision: str
    why: str = ""


def weight_precisions(
    graph: Graph, precision: str, overrides: Mapping[str, str] | None = None
) -> dict[str, WeightPrecision]:
    """By the name of its first output, the precision of every node that has weights.

    precision: of the model, float32 remaining where smaller weights would not pay; overrides: of the nodes with these
    outputs, taken at their word where it can be done at all. Decided by sizes of weights alone, so that a model gives a
    row the same bits whatever comes with it. Raises `UnsupportedModelError` for a precision that there is not,
    or a name of no node that has weights.
    """
    for asked in (precision, *(overrides or {}).values()):
        if asked not in PRECISIONS:
            raise UnsupportedModelError(f"precision {asked!r} is not supported; there are {', '.join(PRECISIONS)}")
    float_dtype = FLOAT_DTYPES[precision]
    chosen = {}
    for node in graph.nodes:
        shape = _weight_shape(graph, node)
        if shape is None:
            continue
        name = node.outputs[0] or node.outputs[-1]
        asked = (overrides or {}).get(name, precision)
        if FLOAT_DTYPES[asked] != float_dtype:
            raise UnsupportedModelError(f"{node}: weights in {asked} in a model that computes in {float_dtype}")
        why = ""
        if asked in SMALL:
            why = _impossible(node, shape, asked) or ("" if name in (overrides or {}) else _pointless(node, shape))
        chosen[name] = WeightPrecision(float_dtype if why else asked, why)
    if unknown := sorted(set(overrides or {}) - set(chosen)):
        raise UnsupportedModelError(f"precisions for {unknown}, which are no nodes with weights: {sorted(chosen)}")
    return chosen


def _weight_shape(graph: Graph, node: Node) -> tuple[int, ...] | None:
    """(outputs, inputs) of the node's largest matrix; None where it has no constant weights."""
    if node.op in ("gru", "lstm", "rnn"):
        sizes = node.attrs["spec"]
        return sizes["hidden_size"], max(sizes["hidden_size"], sizes["input_size"])
    if node.op not in ("embedding", "linear", "matmul"):
        return None
    array = graph.constants.get(node.inputs[1])
    if array is None or array.ndim != 2 or array.dtype.kind in "iub":
        return None
    return array.shape[::-1] if node.op == "matmul" else array.shape


def _impossible(node: Node, shape: tuple[int, ...], asked: str) -> str:
    if node.op in ("lstm", "rnn"):
        return f"there are no kernels for an {node.op.upper()} with small weights"
    if asked == "int8" and shape[1] > INT8_LIMIT:
        return f"a sum of {shape[1]} products of int8 may not fit 32 bits; bfloat16 has no such limit"
    return ""


def _pointless(node: Node, shape: tuple[int, ...]) -> str:
    outputs, inputs = shape
    if node.op == "embedding":
        return "" if inputs >= _LEAST_INPUTS else f"rows of {inputs} numbers gain little"
    if node.op == "gru" and outputs < _LEAST_UNITS:
        return f"{outputs} units are faster in float32: small weights pay from {_LEAST_UNITS}"
    if outputs * inputs < _LEAST_WEIGHTS:
        return f"{outputs} by {inputs} weights are faster in float32: small ones pay from {_LEAST_WEIGHTS}"
    if inputs < _LEAST_INPUTS:
        return f"sums of {inputs} products are faster in float32: small weights pay from {_LEAST_INPUTS}"
    return ""
