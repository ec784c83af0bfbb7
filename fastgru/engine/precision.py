"""Which node has its weights in which precision, and why: decided once for a model.

Only GEMMs with constants, GRUs and look-ups in constant tables have weights of low precision. Everything else computes
in the dtype of the model. A precision that is given is obeyed, be it slower; "auto" takes what is not: see
`engine.faster`.
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
    """Of a node with weights: its operator, their precision, and why it is that one where it was not asked for by name:
    what "auto" goes by, or what kept them from another."""

    op: str
    precision: str
    why: str = ""


@dataclass(frozen=True)
class PrecisionPlan:
    """What a model computes in, and what each of its weights is packed in: passes, lowerings and packing read it.

    precision: asked for, of the model. weights: by the name of its first output, of every node that has weights.
    rows: by name, the matrices that int8 kernels take as the file has them.
    """

    precision: str
    weights: Mapping[str, WeightPrecision] = field(default_factory=lambda: MappingProxyType({}))
    rows: Mapping[str, ConstantRows] = field(default_factory=lambda: MappingProxyType({}))

    @once
    def float_dtype(self) -> str:
        """The dtype of everything floating, but for weights."""
        return float_dtype_of(self.precision)

    @once
    def lowp(self) -> Mapping[str, str]:
        """The nodes with weights of 16 or 8 bits, by the name of the first output, and their precisions."""
        return {name: chosen.precision for name, chosen in self.weights.items() if chosen.precision in LOWP}


def prepare(graph: Graph, precision: Precision) -> tuple[Graph, PrecisionPlan]:
    """The graph as it is planned for every shape, and its precisions.

    Raises as `weight_precisions`.
    """
    common, overrides = split_precision(precision)
    asked = {common, *overrides.values()}
    keep_rows = "int8" in asked or (bool(asked & AUTO.keys()) and "int8" in graph.precisions.values())
    graph = simplify(graph, keep_rows=keep_rows)
    plan = PrecisionPlan(common, weight_precisions(graph, precision), kept_rows(graph) if keep_rows else {})
    graph = merge_quantised(graph, plan.lowp) if plan.float_dtype == "float32" else graph
    return join_alike(graph, plan.lowp), plan


def weight_precisions(graph: Graph, precision: Precision) -> dict[str, WeightPrecision]:
    """By the name of its first output, the precision of every node that has weights.

    A low precision that cannot be done gives way to float32, but for a single node; "auto" goes by sizes of weights and
    the target alone, so that a model gives a row the same bits whatever comes with it. Raises `UnsupportedModelError`
    for a precision that there is not, a name of no node that has weights or of several, and one of a single node that
    cannot be done.
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
    """The first that is no slower than float32 here, or float32. integer: integers of the file stay so in that."""
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
    """The GEMMs that multiply quantised values by quantised weights where these are left as they are."""
    gemms, left = (
        {node_name(node) for node in inlined(nodes) if node.op in ("linear", "matmul")}
        for nodes in (graph.nodes, merge_quantised(graph).nodes)
    )
    return gemms - left


def weight_matrices(graph: Graph) -> dict[str, tuple[Node, list[tuple[int, int]]]]:
    """By the name of its first output, every node with weights and the (outputs, inputs) of each of its matrices."""
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
    """Its first output: the name by which its precision goes."""
    return node.outputs[0] or node.outputs[-1]


def _by_output(nodes: Sequence[Node], overrides: Mapping[str, str]) -> dict[str, str]:
    """The overrides by first output, whatever name of the node they came by."""
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
    """(outputs, inputs) of the node's largest matrix, of one gate; None where it has no constant weights."""
    if node.op in RECURRENT:
        sizes = node.attrs["spec"]
        return sizes["hidden_size"], max(sizes["hidden_size"], sizes["input_size"])
    for name, axis in weight_axes(node).items():
        if len(shape := shapes.get(name, ())) == 2:
            return shape[axis], shape[1 - axis]
    return None


def impossible(node: Node, shape: tuple[int, int], precision: str) -> str:
    """Why the weights of a node cannot be in a precision; "" where they can."""
    if precision in LOWP and node.op in ("lstm", "rnn"):
        return f"there are no kernels for an {node.op.upper()} with weights of low precision"
    if precision == "int8" and shape[1] > INT8_LIMIT:
        return f"a sum of {shape[1]} products of int8 may not fit 32 bits; bfloat16 has no such limit"
    return ""
