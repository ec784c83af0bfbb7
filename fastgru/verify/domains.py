"""What the integers and bools of an input mean, read off the nodes they reach."""

from dataclasses import dataclass

from fastgru.graph import Graph
from fastgru.reference.facts import ValueFacts, domains, infer_graph, sources

__all__ = ["Domain", "find_domains"]


@dataclass(frozen=True)
class Domain:
    """kind: "ids" (integers from 0 to size - 1), "lengths", "mask" or "any"."""

    kind: str = "any"
    size: int = 2


def find_domains(graph: Graph) -> dict[str, Domain]:
    """The domain of each input by name. An input that reaches two tables takes the smaller one's size."""
    facts = infer_graph(graph)
    origin: dict[str, set[str]] = {spec.name: {spec.name} for spec in graph.inputs}
    found = {spec.name: Domain() for spec in graph.inputs}

    def note(value: str, domain: Domain) -> None:
        for name in origin.get(value, ()):
            known = found[name]
            if known.kind != "ids" or domain.kind != "ids" or domain.size < known.size:
                found[name] = domain

    for node in graph.nodes:
        inputs = [facts.get(name, ValueFacts()) if name else None for name in node.inputs]
        for i, (kind, size) in domains(node.op, inputs, node.attrs).items():
            if kind != "ids":
                note(node.inputs[i], Domain(kind))
            elif isinstance(size, int) and size:
                note(node.inputs[i], Domain(kind, size))
        carried = set().union(*(origin.get(name, set()) for name in sources(node.op, node.inputs)))
        origin.update(dict.fromkeys(node.outputs, carried))
    return found
