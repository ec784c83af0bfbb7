"""The precision of each node's weights, and the reason for it, chosen once for a model.

Only GEMMs with constants, GRUs and look-ups in constant tables have weights of low precision. Everything else computes
in the dtype of the model. A precision that the caller names is used even if it is slower; "auto" takes one only if it
is not slower, see `engine.faster`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import field
from types import MappingProxyType

from fastgru.engine.buffers import ConstantRows
from fastgru.engine.faster import HERE, slower
from fastgru.engine.passes import join_alike, merge_quantised, simplify
from fastgru.engine.passes.rows import kept_rows, matrix_shapes, weight_axes
from fastgru.errors import UnsupportedModelError
from fastgru.graph import Graph, Node, inlined
from fastgru.nearest import nearest
from fastgru.precisions import AUTO, LOWP, Precision, float_dtype_of, split_precision
from fastgru.process import once
from fastgru.records import dataclass
from fastgru.simd.groups import INT8_LIMIT
from fastgru.spec import RECURRENT, spec_of

__all__ = [
    "PrecisionPlan",
    "WeightPrecision",
    "impossible",
    "largest_matrix",
    "node_name",
    "prepare",
    "weight_matrices",
    "weight_precisions",
]


@dataclass(frozen=True)
class WeightPrecision:
    """The precision of a node's weights.

    op: the operator of the node. why: the reason for the precision, unless it was asked for: why "auto" chose it, or
    why the weights cannot have the one that was asked for.
    """

    op: str
    precision: str
    why: str = ""


@dataclass(frozen=True)
class PrecisionPlan:
    """The precision of a model and of each of its weights, which passes, lowerings and packing read.

    precision: the one that was asked for. weights: the precision of every node with weights, by its first output.
    rows: the matrices that int8 kernels take as the file has them, by name.
    """

    precision: str
    weights: Mapping[str, WeightPrecision] = field(default_factory=lambda: MappingProxyType({}))
    rows: Mapping[str, ConstantRows] = field(default_factory=lambda: MappingProxyType({}))

    @once
    def float_dtype(self) -> str:
        """The dtype of all floating-point values except weights."""
        return float_dtype_of(self.precision)

    @once
    def lowp(self) -> Mapping[str, str]:
        """The precisions of the nodes with weights of 16 or 8 bits, by the name of the first output."""
        return {name: chosen.precision for name, chosen in self.weights.items() if chosen.precision in LOWP}


def prepare(graph: Graph, precision: Precision) -> tuple[Graph, PrecisionPlan]:
    """Return the graph from which plans are made, and its precisions. Raises as `weight_precisions`."""
    common, overrides = split_precision(precision)
    asked = {common, *overrides.values()}
    keep_rows = "int8" in asked or (bool(asked & AUTO.keys()) and "int8" in graph.precisions.values())
    graph = simplify(graph, keep_rows=keep_rows)
    plan = PrecisionPlan(common, weight_precisions(graph, precision), kept_rows(graph) if keep_rows else {})
    graph = merge_quantised(graph, plan.lowp) if plan.float_dtype == "float32" else graph
    return join_alike(graph, plan.lowp), plan


def weight_precisions(graph: Graph, precision: Precision) -> dict[str, WeightPrecision]:
    """Return the precision of every node that has weights, by the name of its first output.

    Weights that cannot have the low precision of the model stay in float32. "auto" depends on the sizes of weights and
    on the target alone, so a row has the same bits whatever else is in the batch. Raises `UnsupportedModelError` for an
    unknown precision, for a name that fits no node with weights or several, and for a precision of a single node that
    its weights cannot have.
    """
    common, overrides = split_precision(precision)
    float_dtype, *_ = [float_dtype_of(asked) for asked in (common, *overrides.values())]
    shapes = matrix_shapes(graph)
    weighted = [(node, shape) for node in inlined(graph.nodes) if (shape := largest_matrix(shapes, node)) is not None]
    wished = _by_output([node for node, _ in weighted], overrides)
    integers = _integer_gemms(graph) if AUTO.keys() & {common, *overrides.values()} else set()
    chosen = {}
    for node, shape in weighted:
        name = node_name(node)
        asked = wished.get(name, common)
        if float_dtype_of(asked) != float_dtype:
            raise UnsupportedModelError(
                f"{node}: its weights cannot be {asked} in a model that computes in {float_dtype}"
            )
        if asked in AUTO:
            saved = graph.precisions.get(name)
            chosen[name] = _fastest(node, shape, (saved,) if saved in LOWP else AUTO[asked], name in integers)
            continue
        why = impossible(node, shape, asked)
        if why and name in wished:
            raise UnsupportedModelError(f"{node}: its weights cannot be {asked}: {why}")
        chosen[name] = WeightPrecision(node.op, float_dtype if why else asked, why)
    return chosen


def _fastest(node: Node, shape: tuple[int, int], among: Sequence[str], integer: bool) -> WeightPrecision:
    """Return the first precision that is no slower than float32 here, or float32.

    integer: the node multiplies integers of the file, which float32 keeps as integers.
    """
    if integer:
        return WeightPrecision(node.op, "float32", "integers of the file, which are multiplied as they are")
    reasons = []
    for precision in among:
        why = impossible(node, shape, precision) or slower(node.op, shape, precision)
        if not why:
            return WeightPrecision(node.op, precision, f"no slower than float32 on {HERE} with any number of rows")
        reasons.append(why)
    return WeightPrecision(node.op, "float32", "; ".join(reasons))


def _integer_gemms(graph: Graph) -> set[str]:
    """Return the GEMMs that multiply quantised values by quantised weights if their weights stay as they are."""
    gemms, left = (
        {node_name(node) for node in inlined(nodes) if node.op in ("linear", "matmul")}
        for nodes in (graph.nodes, merge_quantised(graph).nodes)
    )
    return gemms - left


def weight_matrices(graph: Graph) -> dict[str, tuple[Node, list[tuple[int, int]]]]:
    """Return every node with weights and the (outputs, inputs) of its matrices, by the name of its first output."""
    found, constant_shapes = {}, matrix_shapes(graph)
    for node in inlined(graph.nodes):
        shape = largest_matrix(constant_shapes, node)
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
    """Return the name of the node's first output, by which precisions name the node."""
    return node.outputs[0] or node.outputs[-1]


def _by_output(nodes: Sequence[Node], overrides: Mapping[str, str]) -> dict[str, str]:
    """Return the overrides by first output, whichever name of the node the caller used."""
    wished = {}
    for key, precision in overrides.items():
        meant = [n for n in nodes if key and key in n.outputs] or [n for n in nodes if key and key == n.name]
        if len(meant) != 1:
            fault = f"{len(meant)} nodes have" if meant else "no node with weights has"
            there = [node_name(n) for n in nodes]
            close = nearest(key, there)
            offer = f"did you mean {' or '.join(map(repr, close))}? Expected" if close else "expected"
            raise UnsupportedModelError(f"precision of {key!r}: {fault} this name; {offer} one of {there}")
        wished[node_name(meant[0])] = precision
    return wished


def largest_matrix(shapes: Mapping[str, tuple[int, ...]], node: Node) -> tuple[int, int] | None:
    """Return (outputs, inputs) of one gate of the node's largest matrix; None if it has no constant weights."""
    if node.op in RECURRENT:
        sizes = node.attrs["spec"]
        return sizes["hidden_size"], max(sizes["hidden_size"], sizes["input_size"])
    for name, axis in weight_axes(node).items():
        if len(shape := shapes.get(name, ())) == 2:
            return shape[axis], shape[1 - axis]
    return None


def impossible(node: Node, shape: tuple[int, int], precision: str) -> str:
    """Say why the weights of a node cannot be in a precision; "" if they can."""
    if precision in LOWP and node.op in ("lstm", "rnn"):
        return f"there are no kernels for an {node.op.upper()} with weights of low precision"
    if precision == "int8" and shape[1] > INT8_LIMIT:
        return f"a sum of {shape[1]} products of int8 may not fit 32 bits; bfloat16 has no such limit"
    return ""
