"""Find what the integers and bools of a graph's inputs mean: ids within a table, lengths within a sequence, a mask."""

from fastgru.graph import Graph, inlined
from fastgru.records import dataclass
from fastgru.reference.facts import ValueFacts, domains, infer_graph, sources

__all__ = ["Domain", "find_domains"]


@dataclass(frozen=True)
class Domain:
    """kind: "ids" (integers from 0 to size - 1), "lengths", "mask" or "any"."""

    kind: str = "any"
    size: int = 2


def find_domains(graph: Graph) -> dict[str, Domain]:
    """Return what the integers and bools of each input mean, according to the nodes that the input reaches.

    An input that reaches two tables takes the size of the smaller one.
    """
    facts = infer_graph(graph)
    origin: dict[str, set[str]] = {spec.name: {spec.name} for spec in graph.inputs}
    found = {spec.name: Domain() for spec in graph.inputs}

    def note(value: str, domain: Domain) -> None:
        for name in origin.get(value, ()):
            known = found[name]
            if known.kind != "ids" or domain.kind != "ids" or domain.size < known.size:
                found[name] = domain

    for node in inlined(graph.nodes):
        inputs = [facts.get(name, ValueFacts()) if name else None for name in node.inputs]
        for i, (kind, size) in domains(node.op, inputs, node.attrs).items():
            if kind != "ids":
                note(node.inputs[i], Domain(kind))
            elif isinstance(size, int) and size:
                note(node.inputs[i], Domain(kind, size))
        carried = set().union(*(origin.get(name, set()) for name in sources(node.op, node.inputs)))
        origin.update(dict.fromkeys(node.outputs, carried))
    return found
