"""Find which axes of a network are batch and time, and whether sequences of different lengths may share a batch.

The axes are followed from the inputs through every node, by the facts of its operator. A node may combine only values
of the same row, so that rows can be computed side by side with the bits that each has alone. A node may look back along
time but not ahead, so that appended frames change nothing before them. Recurrent layers, and nodes that take the last
step, get the lengths as an input, so that their states are those after the true last step, also in the reverse
direction. If a fact of an operator is not known, the operator is not allowed.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final, NamedTuple

from fastgru.errors import UnsupportedModelError
from fastgru.graph import Graph, Node, TensorSpec, shape_text
from fastgru.reference.facts import ValueFacts, infer_graph, mixes, ties
from fastgru.reference.python import unknown_axes
from fastgru.reference.slicing import takes_last
from fastgru.streaming.batch import find_batch_axes

__all__ = ["RECURRENT", "Layout", "find_layout"]

N, T = "the batch\0", "time\0"  # marks of axes, and names of their sizes; no file has such names
RECURRENT: Final = ("gru", "lstm", "rnn")

Marks = Mapping[int, str]  # by axis


class Layout(NamedTuple):
    """The axes of batch and time of a network.

    graph: the graph to run, with an input `lengths` if sequences of different lengths may share a batch.
    rows, steps: {input or output: axis} of the batch, and of time where there is such an axis.
    apart: why rows cannot share a batch, "" if they can.
    unequal: why only rows of equal lengths can share a batch, "" if others can too.
    """

    graph: Graph
    rows: Mapping[str, int]
    steps: Mapping[str, int]
    lengths: str
    apart: str
    unequal: str


class _MixedError(Exception):
    """Rows of the batch may depend on one another."""


class _OtherAxisError(Exception):
    """A recurrent layer says that batch and time are other axes."""


def find_layout(graph: Graph, frames: Sequence[TensorSpec], states: Sequence[TensorSpec], lengths: str) -> Layout:
    """Return the layout of a graph.

    frames: the inputs that a sequence consists of. lengths: the input that takes the lengths, "" if there is none.

    Raises `UnsupportedModelError` if the axes cannot be found.
    """
    best, alone = None, list[Layout]()
    for rows, steps in _assignments(frames, states):
        fixed = frames[0].shape is not None and frames[0].shape[rows[frames[0].name]] is not None
        try:
            layout = _Trace(graph, _marks(rows, steps), lengths).layout(rows, steps)
        except _OtherAxisError:
            continue
        except _MixedError as error:
            alone += _by_sizes(Layout(graph, rows, steps, lengths, str(error), ""), fixed)
            continue
        if fixed:
            alone.append(
                layout._replace(graph=graph, lengths=lengths, apart="the batch is of a fixed size", unequal="")
            )
        elif not layout.unequal:
            return layout
        else:
            best = best or layout
    if best is not None:
        return best
    batch = find_batch_axes(graph, [frames[0].name, *(spec.name for spec in states)], {})[frames[0].name]
    told = alone if len(alone) == 1 else [each for each in alone if each.rows[frames[0].name] == batch]
    if len(told) == 1:
        return told[0]
    shapes = ", ".join(f"{spec.name!r} {shape_text(spec.shape, spec.dims)}" for spec in frames)
    raise UnsupportedModelError(
        f"predict: the batch and time axes of {shapes} are not known: call the model on each sequence, or, if the"
        f" length is fixed, push frames through model.stream(){unknown_axes(graph)}"
    )


def _by_sizes(layout: Layout, fixed: bool) -> list[Layout]:
    """Return the layout with the axes of the outputs found by their sizes alone, for sequences that run one by one.

    The list is empty if the sizes do not tell the axes.
    """
    facts = infer_graph(_named(layout.graph, _marks(layout.rows, layout.steps)))
    wanted, found, over = 1 if fixed else N, dict[str, int](), dict[str, int]()
    for spec in layout.graph.outputs:
        sizes = facts[spec.name].sizes or ()
        if sizes.count(wanted) != 1 and not (fixed and sizes[:1] == (1,)):
            return []
        found[spec.name] = sizes.index(wanted)
        over |= {spec.name: sizes.index(T)} if sizes.count(T) == 1 else {}
    return [layout._replace(rows={**layout.rows, **found}, steps={**layout.steps, **over})]


def _marks(rows: Mapping[str, int], steps: Mapping[str, int]) -> dict[str, Marks]:
    return {name: {axis: N} | ({steps[name]: T} if name in steps else {}) for name, axis in rows.items()}


def _or_none(free: Sequence[int]) -> Sequence[int | None]:
    return free[:1] or [None]


def _assignments(
    frames: Sequence[TensorSpec], states: Sequence[TensorSpec]
) -> Iterator[tuple[dict[str, int], dict[str, int]]]:
    """Yield the batch and time axes that the inputs may have. Those of the first frame decide those of the others."""
    head = frames[0]
    shape = head.shape or ()
    free = [axis for axis, n in enumerate(shape) if n is None]
    pairs: list[tuple[int, int | None]] = list(itertools.permutations(free, 2))
    pairs += [(axis, None) for axis in free if len(free) == 1]
    pairs += [(axis, time) for axis, n in enumerate(shape) if n == 1 for time in _or_none(free)]
    for batch, time in pairs:
        names = {head.dims[axis]: mark for axis, mark in ((batch, N), (time, T)) if head.dims and axis is not None}
        names.pop(None, None)
        rows, steps = {head.name: batch}, {} if time is None else {head.name: time}
        for spec in (*frames[1:], *states):
            open_axes = [axis for axis, n in enumerate(spec.shape or ()) if n is None]
            if shape[batch] is not None:
                open_axes = [axis for axis, n in enumerate(spec.shape or ()) if n == 1][:1] + open_axes
            by_name = {names[dim]: axis for axis, dim in enumerate(spec.dims) if dim in names}
            order = [N, T] if len(open_axes) < 2 or time is None or batch < time or shape[batch] == 1 else [T, N]
            found = by_name if N in by_name else dict(zip(order, open_axes, strict=False))
            if N not in found:
                break
            rows[spec.name] = found[N]
            if T in found and spec not in states:
                steps[spec.name] = found[T]
        else:
            yield rows, steps


def _named(graph: Graph, marks: Mapping[str, Marks]) -> Graph:
    """Return the graph with the free sizes of marked axes named by their marks."""
    inputs = []
    for spec in graph.inputs:
        shape, own = spec.shape or (), marks.get(spec.name, {})
        dims = [own.get(axis) if n is None else None for axis, n in enumerate(shape)]
        inputs.append(replace(spec, dims=tuple(dims)) if shape else spec)
    return replace(graph, inputs=tuple(inputs))


class _Trace:
    """The marks of every value. Raises `_MixedError`, `_OtherAxisError`.

    why: {value: the reason} for values of which a step changes with later frames.
    sized: the values that are computed from sizes.
    """

    def __init__(self, graph: Graph, marks: Mapping[str, Marks], lengths: str) -> None:
        self.graph, self.lengths = graph, lengths or "lengths\0"
        self.facts = infer_graph(_named(graph, marks))
        self.marks: dict[str, dict[int, str]] = {name: dict(each) for name, each in marks.items()}
        self.marks[self.lengths] = {0: N}
        self.why: dict[str, str] = {}
        self.sized: set[str] = set()
        self.nodes: list[Node] = []
        for node in graph.nodes:
            self.nodes += self._follow(node)
            self.marks.pop("", None)  # the name of all outputs that nobody reads
            self.why.pop("", None)
            self.sized.discard("")

    def layout(self, rows: Mapping[str, int], steps: Mapping[str, int]) -> Layout:
        found, over = dict(rows), dict(steps)
        for spec in self.graph.outputs:
            for axis, mark in self.marks.get(spec.name, {}).items():
                (found if mark == N else over)[spec.name] = axis
            if spec.name not in found:
                raise _MixedError(f"output {spec.name!r} has no axis for the batch")
        why = next((self.why[spec.name] for spec in self.graph.outputs if spec.name in self.why), "")
        if why or not steps:
            own = "" if self.lengths.endswith("\0") else self.lengths
            return Layout(self.graph, found, over, own, "", why)
        inputs = self.graph.inputs
        if self.lengths not in {spec.name for spec in inputs}:
            inputs = (*inputs, TensorSpec(self.lengths, "int64", (None,)))
        graph = replace(self.graph, inputs=inputs, nodes=tuple(self.nodes))
        return Layout(graph, found, over, self.lengths, "", "")

    def _follow(self, node: Node) -> list[Node]:
        marked = [(i, a, m) for i, name in enumerate(node.inputs) for a, m in self.marks.get(name, {}).items()]
        sized = [i for i, name in enumerate(node.inputs) if name in self.sized]
        why = next((self.why[name] for name in node.inputs if name in self.why), "")
        if node.op == "shape":
            self.sized.update(node.outputs)
        elif sized and not marked:
            if node.op != "constant_of_shape" and (node.op != "expand" or 0 in sized):
                self.sized.update(node.outputs)
        elif sized and (node.op not in ("reshape", "expand") or 0 in sized):
            raise _MixedError(f"{node} computes with sizes")
        elif node.op in RECURRENT and marked:
            return [self._recurrent(node, why)]
        elif marked:
            if not why and (made := self._last_step(node)) is not None:
                return made
            self._kept(node, marked, why)
        return [node]

    def _kept(self, node: Node, marked: Sequence[tuple[int, int, str]], why: str) -> None:
        inputs = [self.facts.get(name, ValueFacts()) if name else None for name in node.inputs]
        mixing, same = mixes(node.op, inputs, node.attrs), ties(node.op, inputs, node.attrs, len(node.outputs)).same
        for j, output in enumerate(node.outputs):
            sizes, marks, reason = self.facts[output].sizes or (), dict[int, str](), why
            for i, axis, mark in marked:
                places = [b for a, (k, b) in same if a == (i, axis) and k == j]
                ahead = mixing.get(axis) if mixing is not None and i == 0 else None
                kept = mixing is not None and len(places) == 1 and places[0] < len(sizes)
                kept = kept and sizes[places[0]] == mark and marks.get(places[0], mark) == mark
                if kept and (ahead is None or (mark == T and not ahead)):
                    marks[places[0]] = mark
                elif mark == N:
                    raise _MixedError(f"{node} joins rows of the batch")
                else:
                    reason = reason or f"{node} may use later steps or the number of steps"
            if list(marks.values()).count(N) > 1:
                raise _MixedError(f"{node} puts rows of the batch next to each other")
            if list(marks.values()).count(T) > 1:
                reason = reason or f"{node} puts steps next to each other"
            self.marks[output] = marks
            if reason:
                self.why[output] = reason

    def _recurrent(self, node: Node, why: str) -> Node:
        n, t = (0, 1) if node.attrs["spec"].get("batch_first") else (1, 0)
        x, *rest = [self.marks.get(name, {}) for name in node.inputs]
        states = len(node.outputs) if node.op != "lstm" else 3
        expected = [{1: N}, {0: N}, {n: N, t: T}, *[{1: N}] * (states - 2)]
        if x not in ({n: N}, {n: N, t: T}) or any(
            marks and marks != (expected[i] if i < len(expected) else {}) for i, marks in enumerate(rest)
        ):
            raise _OtherAxisError
        for output, marks in zip(node.outputs, (x, *[{1: N}] * 2), strict=False):
            self.marks[output] = dict(marks)
            if why:
                self.why[output] = why
        given = (*node.inputs, "", "")
        if t not in x or given[2]:
            if given[2] and not self.marks.get(given[2]):
                raise _MixedError(f"{node} has lengths of its own")
            return node
        return replace(node, inputs=(*given[:2], self.lengths, *node.inputs[3:]))

    def _last_step(self, node: Node) -> list[Node] | None:
        """Return nodes that take the last step of each row, to replace a node that takes the last of all steps.

        Returns None for any other node.
        """
        x = node.inputs[0]
        marks, rank = self.marks.get(x, {}), self.facts[x].rank
        axis, kept = takes_last(node, self.graph.constants)
        if rank != 3 or axis is None or sorted(marks.values()) != sorted((N, T)) or marks.get(axis % 3) != T:
            return None
        t = axis % 3
        (n,) = [at for at, mark in marks.items() if mark == N]
        (c,) = {0, 1, 2} - {n, t}
        (y,) = node.outputs
        made = [
            Node("transpose", (x,), (f"{y}\0rows",), {"perm": [n, t, c]}, node.name),
            Node("last", (f"{y}\0rows", self.lengths), (f"{y}\0last",), {}, node.name),
            Node("transpose", (f"{y}\0last",), (f"{y}\0turned" if kept else y,), {"perm": [0, 1] if n < c else [1, 0]}),
        ]
        if kept:
            made.append(Node("unsqueeze", (f"{y}\0turned",), (y,), {"axes": [t]}, node.name))
        self.marks[y] = {n - (not kept and t < n): N}
        return made
