"""Name values and nodes: promised names first, then hints. Each name is used only once."""

from collections.abc import Iterable, Mapping, Sequence

from fastgru.arrays import in_c_order
from fastgru.graph import Array, Node, Subgraph
from fastgru.graphbuilder.value import BuiltBody, BuiltNode, Value

__all__ = ["Naming", "build_body", "needed_nodes"]


class Naming:
    """An assignment of one name to every value. promised: the names of certain values, which no other value gets."""

    def __init__(self, promised: Mapping[str, Value]) -> None:
        self._names: dict[Value, str] = {}
        self._used = set(promised)
        self._counts: dict[str, int] = {}
        self._constants: dict[str, Array] = {}
        for name, value in promised.items():
            self._names.setdefault(value, name)
            if value.array is not None:
                self._constants[name] = _owned(value.array)

    def prefer(self, names: Iterable[tuple[str, Value]], nodes: Sequence[BuiltNode]) -> None:
        """Give each value that `nodes` read or make the first free name that `names` has for it."""
        present = {value for node in nodes for value in (*node.inputs, *node.outputs)}
        for name, value in names:
            if value in present and value not in self._names and name not in self._used:
                self._take(value, name)

    def node(self, node: BuiltNode, needed: set[Value]) -> Node:
        """Return the node with names. Outputs that are not in `needed` get none, so that nothing computes them."""
        for value in node.inputs:
            if value is not None and value.array is not None and self._name(value) not in self._constants:
                self._constants[self._name(value)] = _owned(value.array)
        outputs = tuple(self._name(value) if value in needed or value in self._names else "" for value in node.outputs)
        inputs = tuple("" if value is None else self._name(value) for value in node.inputs)
        attrs = {key: self._body(a) if isinstance(a, BuiltBody) else a for key, a in node.attrs.items()}
        return Node(node.op, inputs, outputs, attrs, node.name)

    def _body(self, body: BuiltBody) -> Subgraph:
        inputs, captured = tuple(map(self._name, body.inputs)), tuple(map(self._name, body.captured))
        nodes, needed = needed_nodes(body.nodes, [value for value in body.outputs if value is not None])
        named = tuple(self.node(node, needed) for node in nodes)
        return Subgraph(inputs, captured, tuple("" if v is None else self._name(v) for v in body.outputs), named)

    @property
    def constants(self) -> dict[str, Array]:
        """The constants that named nodes read, and those whose names were promised."""
        return self._constants

    def _name(self, value: Value) -> str:
        if value not in self._names:
            hint = name = value.hint or "value"
            while name in self._used:
                self._counts[hint] = self._counts.get(hint, 0) + 1
                name = f"{hint}_{self._counts[hint]}"
            self._take(value, name)
        return self._names[value]

    def _take(self, value: Value, name: str) -> None:
        self._names[value] = name
        self._used.add(name)


def needed_nodes(nodes: Sequence[BuiltNode], outputs: Iterable[Value]) -> tuple[list[BuiltNode], set[Value]]:
    """Return the nodes that `outputs` depend on, and the values that are needed."""
    needed, kept = set(outputs), []
    for node in reversed(nodes):
        if not needed.isdisjoint(node.outputs):
            kept.append(node)
            needed.update(value for value in node.inputs if value is not None)
    return kept[::-1], needed


def build_body(inputs: Sequence[Value], outputs: Sequence[Value | None], nodes: Sequence[BuiltNode]) -> BuiltBody:
    """Return a body with these inputs. The other values that it reads become `captured`."""
    made = [value for value in outputs if value is not None]
    kept, _ = needed_nodes(nodes, made)
    defined = {*inputs, *(value for node in kept for value in node.outputs)}
    reads = [*(value for node in kept for value in node.inputs if value is not None), *made]
    captured = tuple(value for value in dict.fromkeys(reads) if value not in defined)
    return BuiltBody(tuple(inputs), captured, tuple(outputs), tuple(kept))


def _owned(array: Array) -> Array:
    """Return the array, or a copy of it if it is not contiguous or is a view of a larger array."""
    if array.flags.c_contiguous and (array.base is None or getattr(array.base, "nbytes", array.nbytes) <= array.nbytes):
        return array
    return in_c_order(array)
