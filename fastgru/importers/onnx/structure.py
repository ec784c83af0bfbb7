"""Checks of an ONNX graph before its nodes are converted: what defines each name, what reads it, and in what order."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

from fastgru.errors import InvalidModelError
from fastgru.importers.onnx.proto import GraphProto, ModelProto, NodeProto, label, main_domain
from fastgru.importers.onnx.registry import lookup
from fastgru.modules import late

__all__ = ["MAX_DEPTH", "body_graphs", "in_order", "inputs_to_fix", "live_nodes", "outer_reads"]

MAX_DEPTH: Final = 32


def body_graphs(proto: NodeProto) -> Iterator[GraphProto]:
    """The graphs among the attributes of a node."""
    for attribute in proto.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def outer_reads(proto: NodeProto, depth: int = 0) -> dict[str, None]:
    """Return the names that the subgraphs of a node read and do not define, in the order in which they are read.

    Raises `InvalidModelError` for graphs nested too deeply.
    """
    found: dict[str, None] = {}
    for graph in body_graphs(proto):
        if depth >= MAX_DEPTH:
            raise InvalidModelError(f"node {proto.name!r} ({proto.op_type}): subgraphs are nested too deeply")
        defined = {info.name for info in graph.input} | {tensor.name for tensor in graph.initializer}
        defined.update(tensor.values.name for tensor in graph.sparse_initializer)
        defined.update(name for node in graph.node for name in node.output)
        for node in graph.node:
            for name in (*node.input, *outer_reads(node, depth + 1)):
                if name and name not in defined:
                    found[name] = None
        found.update((info.name, None) for info in graph.output if info.name not in defined)
    return found


def in_order(
    graph: GraphProto, given: Iterable[str], outer: Callable[[str], bool] = lambda name: False
) -> tuple[Sequence[NodeProto], bool]:
    """Return the nodes in topological order, and whether any had to move.

    given: the names of inputs and initializers. outer: whether the graphs around this one define a name. Raises
    `InvalidModelError` unless every name is defined once; the message distinguishes a missing tensor from a cycle.
    """
    defined, makers, nodes = set(given), {}, list(graph.node)
    for i, proto in enumerate(nodes):
        for name in filter(None, proto.output):
            if name in defined or outer(name):
                raise InvalidModelError(f"node {label(proto)!r} ({proto.op_type}) defines {name!r} a second time")
            defined.add(name)
            makers[name] = i
    reads = [_reads(proto) for proto in nodes]
    for proto, names in zip(nodes, reads, strict=True):
        if not defined.issuperset(names) and (missing := [n for n in names if n not in defined and not outer(n)]):
            raise InvalidModelError(
                f"node {label(proto)!r} ({proto.op_type}) reads {missing[0]!r}, which is missing: no input,"
                " initializer or node defines this value"
            )
    for output in graph.output:
        if output.name not in defined and not outer(output.name):
            raise InvalidModelError(
                f"output {output.name!r} is missing: no input, initializer or node defines this value"
            )
    waits = [{makers[name] for name in names if name in makers} for names in reads]
    if all(max(before, default=-1) < i for i, before in enumerate(waits)):
        return nodes, False
    graphlib = late("graphlib")
    try:
        order = list(graphlib.TopologicalSorter(dict(enumerate(waits))).static_order())
    except graphlib.CycleError as error:
        circle = ", ".join(repr(label(nodes[i])) for i in sorted(set(error.args[1])))
        raise InvalidModelError(f"some nodes read each other in a cycle: {circle}") from None
    return [nodes[i] for i in order], True


def _reads(proto: NodeProto) -> list[str]:
    """Return the names that a node and its subgraphs read."""
    return [name for name in (*proto.input, *outer_reads(proto)) if name]


def live_nodes(graph: GraphProto, nodes: Sequence[NodeProto]) -> tuple[Sequence[NodeProto], set[str]]:
    """Return the nodes that an output depends on, and every name that these nodes, their subgraphs or outputs read."""
    wanted, kept = {output.name for output in graph.output}, []
    for proto in reversed(nodes):
        if not wanted.isdisjoint(filter(None, proto.output)):
            kept.append(proto)
            wanted.update(_reads(proto))
    return kept[::-1], wanted


def inputs_to_fix(model: ModelProto) -> tuple[str, ...]:
    """The graph inputs that must become constants before the model can be read, such as a GRU's weights.

    They feed, directly or through other nodes, an operand that an operator of the registry needs as a constant or
    as a size.
    """
    wanted: set[str] = set()
    for proto in reversed(model.graph.node):
        known = lookup(proto.op_type) if main_domain(proto.domain) == "" else None
        if any(name in wanted for name in proto.output if name):
            wanted.update(proto.input)
        elif known is not None:
            wanted.update(proto.input[i] for i in (*known.constants, *known.sizes) if i < len(proto.input))
    initializers = {proto.name for proto in model.graph.initializer}
    return tuple(info.name for info in model.graph.input if info.name in wanted and info.name not in initializers)
