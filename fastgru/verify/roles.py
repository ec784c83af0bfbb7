"""Finds which axes of a graph's values are the batch, which are time, and which must have the same size.

An ONNX file may leave every dimension of every input free and unnamed. The operators tell more: a GRU names the axes
that it reads, and the facts of every operator tell which of its axes are the same. Axes that are the same are joined
(union-find), so a role found at one end of the graph is known at the other. Axes with the same symbolic size are
joined, too. An axis that is cut out of another one, or stacked from it, has the same role but another size. Nothing is
guessed from a number.
"""

from collections.abc import Iterable

from fastgru.graph import Graph, Node
from fastgru.reference.facts import ValueFacts, infer_graph, ties
from fastgru.reference.sizes import Size, is_name

__all__ = ["AxisRoles"]

Axis = tuple[str, int]

_NAMES = {
    "N": ("batch", "batch_size", "n", "bs"),
    "T": ("t", "time", "timesteps", "seq", "seq_len", "seq_length", "sequence", "sequence_length", "steps", "frames"),
}


class AxisRoles:
    """The axes of a graph's values, joined if they are the same. `role` and `group` look one up."""

    def __init__(self, graph: Graph) -> None:
        self._parent: dict[Axis, Axis] = {}
        self._role: dict[Axis, str] = {}
        self._kin: list[tuple[Axis, Axis]] = []
        self._constants = graph.constants
        self._facts = infer_graph(graph)
        sizes: dict[Size, Axis] = {}
        for name, facts in self._facts.items():
            for axis, size in enumerate(facts.sizes or ()):
                if is_name(size):
                    self._join((name, axis), sizes.setdefault(size, (name, axis)))
        self._follow_all(graph.nodes)
        for size, axis_of in sizes.items():
            for role, names in _NAMES.items():
                if isinstance(size, str) and size.lower() in names:
                    self._role.setdefault(self._find(axis_of), role)
        self._hand_on()

    def group(self, name: str, axis: int) -> Axis:
        """Return the representative of all axes that have the size of this one."""
        return self._find((name, axis))

    def role(self, name: str, axis: int) -> str | None:
        """Return "N", "T", or None if the graph does not tell."""
        return self._role.get(self._find((name, axis)))

    def axis_of(self, name: str, role: str) -> int | None:
        """Return the first axis of the value `name` that has this role, or None."""
        sizes = self._facts[name].sizes if name in self._facts else None
        return next((i for i in range(len(sizes or ())) if self.role(name, i) == role), None)

    def _find(self, axis: Axis) -> Axis:
        root = axis
        while (above := self._parent.get(root, root)) != root:
            root = above
        while axis != root:
            self._parent[axis], axis = root, self._parent.get(axis, root)
        return root

    def _counts(self, axis: Axis) -> bool:
        return bool(axis[0]) and axis[0] not in self._constants

    def _join(self, a: Axis, b: Axis) -> None:
        if not self._counts(a) or not self._counts(b):
            return
        a, b = self._find(a), self._find(b)
        if a != b:
            self._parent[a] = b
            if a in self._role:
                self._role.setdefault(b, self._role[a])

    def _follow_all(self, nodes: Iterable[Node]) -> None:
        for node in nodes:
            self._follow(node)
            for body in node.bodies.values():
                self._follow_all(body.nodes)
                for inner, outer in zip(body.captured, body.outside(node), strict=True):
                    self._join_all(inner, outer)
            if node.op == "loop":
                self._follow_loop(node)

    def _follow_loop(self, node: Node) -> None:
        """Join the axes of states and slices with those outside; steps of sequences and stacked outputs are time."""
        attrs, body = node.attrs, node.attrs["body"]
        K, values = attrs["states"], node.inputs[2:]
        for i, name in enumerate(body.inputs[1 : 1 + K]):
            for same in (values[i], body.outputs[1 + i], *node.outputs[i : i + 1]):
                self._join_all(name, same)
        timed = [
            (x, axis, name) for x, axis, name in zip(values[K:], attrs["axes"], body.inputs[1 + K :], strict=False)
        ]
        timed += zip(node.outputs[K:], attrs["output_axes"], body.outputs[1 + K :], strict=False)
        first: Axis | None = None
        for whole, axis, name in timed:
            rank = len(self._facts[name].sizes or ()) + 1 if name in self._facts else 0
            if not whole or not -rank <= axis < rank:
                continue
            at = axis % rank
            for i in range(rank - 1):
                self._join((name, i), (whole, i + (i >= at)))
            self._role.setdefault(self._find((whole, at)), "T")
            first = (whole, at) if first is None else first
            self._join(first, (whole, at))

    def _join_all(self, a: str, b: str) -> None:
        """Join every axis of two values of the same shape."""
        for axis in range(len(self._facts[a].sizes or ()) if a in self._facts else 0):
            self._join((a, axis), (b, axis))

    def _follow(self, node: Node) -> None:
        inputs = [self._facts.get(name, ValueFacts()) if name else None for name in node.inputs]
        found = ties(node.op, inputs, node.attrs, len(node.outputs))
        for (i, axis), (j, other) in found.same:
            self._join((node.inputs[i], axis), (node.outputs[j], other))
        for (i, axis), (j, other) in found.kin:
            pair = (node.inputs[i], axis), (node.outputs[j], other)
            if all(map(self._counts, pair)):
                self._kin.append(pair)
        for role, places in found.roles:
            named = [(node.inputs[i], axis) for i, axis in places]
            axes = [place for place in named if self._counts(place)]
            for place in axes[1:]:
                self._join(axes[0], place)
            if role is not None and axes:
                self._role.setdefault(self._find(axes[0]), role)

    def _hand_on(self) -> None:
        """Pass roles from an axis to those that are made from it, and back, until nothing changes."""
        changed = True
        while changed:
            changed = False
            for pair in self._kin:
                for a, b in (pair, pair[::-1]):
                    role, other = self._role.get(self._find(a)), self._find(b)
                    if role is not None and other not in self._role:
                        self._role[other] = role
                        changed = True
