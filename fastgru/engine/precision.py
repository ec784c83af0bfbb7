"""Which node has its weights in which precision.

Activations, states, inputs and outputs stay in float32 with small weights; only products by constants, GRUs and
look-ups in constant tables have weights to make small. Everything else computes in float32 as it does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from fastgru.engine.passes.rows import matrix_shapes
from fastgru.errors import UnsupportedModelError
from fastgru.graph import Graph, Node
from fastgru.simd.groups import INT8_LIMIT
from fastgru.spec import RECURRENT, spec_of

__all__ = [
    "FLOAT_DTYPES",
    "LOWP",
    "PRECISIONS",
    "Precision",
    "WeightPrecision",
    "node_name",
    "split_precision",
    "weight_matrices",
    "weight_precisions",
]

# One for all, or by node: its name or an output of it; "*" stands for the others, which are float32 without it.
Precision = str | Mapping[str, str]

# The dtype that a model of each precision computes in.
FLOAT_DTYPES: Final = {"float64": "float64", "float32": "float32", "bfloat16": "float32", "int8": "float32"}
PRECISIONS: Final = tuple(FLOAT_DTYPES)
LOWP: Final = ("bfloat16", "int8")

# Below these a product is done before smaller weights could save a byte worth waiting for; making its rows ready costs
# what few outputs save.
_LEAST_UNITS: Final = 64
_LEAST_OUTPUTS: Final = 32
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
    outputs or names, taken at their word. Decided by sizes of weights alone, so that a model gives a row the same bits
    whatever comes with it. Raises `UnsupportedModelError` for a precision that there is not, a name of no node that has
    weights or of several, and an override that cannot be done.
    """
    for asked in (precision, *(overrides or {}).values()):
        if asked not in PRECISIONS:
            raise UnsupportedModelError(f"precision {asked!r} is not supported; there are {', '.join(PRECISIONS)}")
    float_dtype = FLOAT_DTYPES[precision]
    known = matrix_shapes(graph)
    weighted = [(node, shape) for node in graph.nodes if (shape := _weight_shape(known, node)) is not None]
    wished = _by_output([node for node, _ in weighted], overrides or {})
    chosen = {}
    for node, shape in weighted:
        name = node_name(node)
        asked = wished.get(name, precision)
        if FLOAT_DTYPES[asked] != float_dtype:
            raise UnsupportedModelError(f"{node}: weights in {asked} in a model that computes in {float_dtype}")
        why = _impossible(node, shape, asked) if asked in LOWP else ""
        if why and name in wished:
            raise UnsupportedModelError(f"{node}: weights in {asked}: {why}")
        if asked in LOWP and name not in wished:
            why = why or _pointless(node, shape)
        chosen[name] = WeightPrecision(float_dtype if why else asked, why)
    return chosen


def split_precision(precision: Precision) -> tuple[str, dict[str, str]]:
    """The precision of the model, and those of single nodes."""
    if not isinstance(precision, Mapping):
        return precision, {}
    return precision.get("*", "float32"), {name: p for name, p in precision.items() if name != "*"}


def weight_matrices(graph: Graph) -> dict[str, tuple[Node, list[tuple[int, int]]]]:
    """By the name of its first output, every node with weights and the (outputs, inputs) of each of its matrices."""
    found, known = {}, matrix_shapes(graph)
    for node in graph.nodes:
        shape = _weight_shape(known, node)
        if shape is None:
            continue
        shapes = [shape]
        if node.op in RECURRENT:
            spec = spec_of(node.op, node.attrs)
            each = [s for name, s in spec.weight_shapes.items() if name.startswith("weight")]
            shapes = [(s[0], s[1]) for s in each * spec.num_directions]
        found[node_name(node)] = (node, shapes)
    return found


def node_name(node: Node) -> str:
    """Its first output: the name by which its precision goes."""
    return node.outputs[0] or node.outputs[-1]


def _by_output(nodes: Sequence[Node], overrides: Mapping[str, str]) -> dict[str, str]:
    """The overrides by first output, whatever name of the node they came by."""
    wished = {}
    for key, precision in overrides.items():
        meant = [n for n in nodes if key and key in n.outputs] or [n for n in nodes if key and key == n.name]
        if len(meant) != 1:
            fault = f"{len(meant)} nodes are called" if meant else "no node with weights is called"
            raise UnsupportedModelError(f"precision of {key!r}: {fault} so; there are {[node_name(n) for n in nodes]}")
        wished[node_name(meant[0])] = precision
    return wished


def _weight_shape(shapes: Mapping[str, tuple[int, ...]], node: Node) -> tuple[int, int] | None:
    """(outputs, inputs) of the node's largest matrix, of one gate; None where it has no constant weights."""
    if node.op in RECURRENT:
        sizes = node.attrs["spec"]
        return sizes["hidden_size"], max(sizes["hidden_size"], sizes["input_size"])
    if node.op not in ("embedding", "linear", "matmul"):
        return None
    shape = shapes.get(node.inputs[1])
    if shape is None or len(shape) != 2:
        return None
    first, second = shape
    return (second, first) if node.op == "matmul" else (first, second)


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
    if node.op in ("linear", "matmul") and outputs < _LEAST_OUTPUTS:
        return f"{outputs} outputs are faster in float32: small weights pay from {_LEAST_OUTPUTS}"
    if outputs * inputs < _LEAST_WEIGHTS:
        return f"{outputs} by {inputs} weights are faster in float32: small ones pay from {_LEAST_WEIGHTS}"
    if inputs < _LEAST_INPUTS:
        return f"sums of {inputs} products are faster in float32: small weights pay from {_LEAST_INPUTS}"
    return ""
