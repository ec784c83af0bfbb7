"""Which axes of a graph's values are the batch, which are time, and which must have one and the same size.

An ONNX file may leave every dimension of every input free and unnamed. The operators tell more: a GRU names the axes
of what it reads, and most operators keep their axes. Axes that are one and the same are joined (union-find), so a
role found at one end of the graph is known at the other. An axis that passes an operator that is not followed here
keeps no role; nothing is ever guessed from a size.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fastgru.graph import Graph, Node
from fastgru.spec import RECURRENT, spec_of

__all__ = ["AxisRoles"]

Axis = tuple[str, int]

_NAMES = {
    "N": ("batch", "batch_size", "n", "bs"),
    "T": ("t", "time", "timesteps", "seq", "seq_len", "seq_length", "sequence", "sequence_length", "steps", "frames"),
}
_KEEPS_AXES = (
    *("activation", "unary", "clip", "cast", "softmax", "log_softmax", "layer_norm", "batch_norm", "cumsum", "prelu"),
    *("binary", "compare", "logical", "where"),
)


class AxisRoles:
    """The axes of a graph's values, joined where they are the same; `role` and `group` look one up."""

    def __init__(self, graph: Graph) -> None:
        self._parent: dict[Axis, Axis] = {}
        self._role: dict[Axis, str] = {}
        self._constants = graph.constants
        self._rank = {name: np.ndim(a) for name, a in graph.constants.items()}
        self._rank.update((spec.name, len(spec.shape)) for spec in graph.inputs if spec.shape is not None)
        named: dict[str, Axis] = {}
        for spec in graph.inputs:
            for axis, dim in enumerate(spec.dims):
                if dim is not None:
                    self._join((spec.name, axis), named.setdefault(dim, (spec.name, axis)))
        for node in graph.nodes:
            self._follow(node)
        for dim, axis_of in named.items():
            for role, names in _NAMES.items():
                if dim.lower() in names:
                    self._role.setdefault(self._find(axis_of), role)

    def group(self, name: str, axis: int) -> Axis:
        """One representative of all axes that have the size of this one."""
        return self._find((name, axis))

    def role(self, name: str, axis: int) -> str | None:
        """ "N", "T", or None where the graph does not tell."""
        return self._role.get(self._find((name, axis)))

    def axis_of(self, name: str, role: str) -> int | None:
        """The first axis of the value `name` in this role."""
        return next((i for i in range(self._rank.get(name, 0)) if self.role(name, i) == role), None)

    def _find(self, axis: Axis) -> Axis:
        root = axis
        while (above := self._parent.get(root, root)) != root:
            root = above
        while axis != root:
            self._parent[axis], axis = root, self._parent.get(axis, root)
        return root

    def _join(self, a: Axis, b: Axis) -> None:
        if not a[0] or not b[0] or a[0] in self._constants or b[0] in self._constants:
            return
        a, b = self._find(a), self._find(b)
        if a != b:
            self._parent[a] = b
            if a in self._role:
                self._role.setdefault(b, self._role[a])

    def _label(self, name: str, axis: int, role: str) -> None:
        if name and name not in self._constants:
            self._role.setdefault(self._find((name, axis)), role)

    def _keep(self, source: str, target: str, axes: Sequence[tuple[int, int]], rank: int) -> None:
        """`axes` pairs an axis of the source with the same axis of the target, whose rank is `rank`."""
        if target:
            self._rank[target] = rank
            for i, j in axes:
                self._join((source, i), (target, j))

    def _constant(self, node: Node, position: int) -> list[int] | None:
        name = node.inputs[position] if position < len(node.inputs) else ""
        return [int(i) for i in np.ravel(self._constants[name])] if name in self._constants else None

    def _follow(self, node: Node) -> None:
        x = node.inputs[0] if node.inputs else ""
        rank = self._rank.get(x)
        if node.op in RECURRENT:
            self._follow_recurrent(node)
        elif node.op == "last":
            for name, axis, role in ((x, 0, "N"), (x, 1, "T"), (node.inputs[1], 0, "N")):
                self._label(name, axis, role)
            self._join((x, 0), (node.inputs[1], 0))
            self._keep(x, node.outputs[0], [(0, 0), (2, 1)], 2)
        elif node.op in _KEEPS_AXES:
            self._follow_broadcast(node)
        elif node.op == "gather" and x in self._constants and int(node.attrs.get("axis", 0)) == 0:
            ids, rest = node.inputs[1], np.ndim(self._constants[x]) - 1
            if ids in self._rank:
                count = self._rank[ids]
                self._keep(ids, node.outputs[0], [(i, i) for i in range(count)], count + rest)
        elif rank is not None:
            self._follow_shape(node, x, rank)

    def _follow_recurrent(self, node: Node) -> None:
        x, h0, lengths, mask, *rest = (*node.inputs, "", "", "", "")
        spec = spec_of(node.op, node.attrs)
        T, N = (1, 0) if spec.batch_first else (0, 1)
        y, *last = node.outputs
        further = [*rest[: len(spec.STATES) - 1], *last]
        for name in (x, mask, y):
            self._join((x, T), (name, T))
            self._join((x, N), (name, N))
        for name, axis in ((h0, 1), (lengths, 0), *((name, 1) for name in further)):
            self._join((x, N), (name, axis))
        self._rank.update(dict.fromkeys(node.outputs, 3))
        self._label(x, T, "T")
        self._label(x, N, "N")

    def _follow_broadcast(self, node: Node) -> None:
        ranks = [self._rank.get(name) for name in node.inputs if name]
        if not ranks or None in ranks:
            return
        rank = max(r for r in ranks if r is not None)
        for name in filter(None, node.inputs):
            shift = rank - self._rank[name]
            self._keep(name, node.outputs[0], [(i, i + shift) for i in range(self._rank[name])], rank)

    def _follow_shape(self, node: Node, x: str, rank: int) -> None:
        every = [(i, i) for i in range(rank)]
        out = node.outputs[0]
        if node.op in ("linear", "matmul", "matmul_integer") and rank >= 2:
            self._keep(x, out, every[:-1], rank)
        elif node.op in ("dequantize", "dynamic_quantize", "quantize"):
            self._keep(x, out, every, rank)
        elif node.op == "embedding":
            self._keep(x, out, every, rank + 1)
        elif node.op == "transpose":
            self._keep(x, out, [(int(i), j) for j, i in enumerate(node.attrs["perm"])], rank)
        elif node.op in ("squeeze", "unsqueeze") and node.attrs.get("axes"):
            whole = rank + len(node.attrs["axes"]) if node.op == "unsqueeze" else rank
            gone = {int(a) % whole for a in node.attrs["axes"]}
            kept = [i for i in range(whole) if i not in gone]
            pairs = list(enumerate(kept)) if node.op == "unsqueeze" else [(i, j) for j, i in enumerate(kept)]
            self._keep(x, out, pairs, whole if node.op == "unsqueeze" else len(kept))
        elif node.op in ("concat", "split"):
            kept = [i for i in range(rank) if i != int(node.attrs["axis"]) % rank]
            for name in filter(None, node.inputs if node.op == "concat" else node.inputs[:1]):
                for target in node.outputs:
                    self._keep(name, target, [(i, i) for i in kept], rank)
        elif node.op == "slice":
            starts = self._constant(node, 1)
            axes = self._constant(node, 3) or (None if starts is None else list(range(len(starts))))
            cut = set(range(rank)) if axes is None else {a % rank for a in axes}
            self._keep(x, out, [pair for pair in every if pair[0] not in cut], rank)
        elif node.op == "reduce" and node.attrs.get("axes"):
            gone = {int(a) % rank for a in node.attrs["axes"]}
            kept = [i for i in range(rank) if i not in gone]
            pairs = [(i, i) for i in kept] if node.attrs.get("keepdims", True) else [(i, j) for j, i in enumerate(kept)]
            self._keep(x, out, pairs, rank if node.attrs.get("keepdims", True) else len(kept))
