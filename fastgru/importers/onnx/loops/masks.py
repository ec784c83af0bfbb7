"""Steps that a loop skips for some rows, by a mask or by the lengths of the rows."""

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Final

import numpy as np

from fastgru.graphbuilder import BuiltNode, Value
from fastgru.graphbuilder.naming import needed_nodes
from fastgru.importers.onnx.builder import OnnxGraphBuilder
from fastgru.importers.onnx.loops.draws import Draw, Trial
from fastgru.importers.onnx.loops.iterations import Number
from fastgru.importers.onnx.loops.layout import layout_of
from fastgru.importers.onnx.loops.trace import TracedBody
from fastgru.modules import late
from fastgru.records import dataclass

__all__ = ["Visibility", "held_state", "is_zero", "visibility"]


_MOST_ROOTS: Final = 3


@dataclass(frozen=True)
class Visibility:
    """What a body does with a row whose step counts, and with a row whose step does not count.

    seen, hidden: a trial of each, with its draws; hidden is None for a body without masks. roots: the bools that decide
    whether a step counts. ways: the values of `roots` for which a step counts.
    """

    seen: tuple[Trial, list[Draw]]
    hidden: tuple[Trial, list[Draw]] | None = None
    roots: tuple[Value, ...] = ()
    ways: tuple[tuple[bool, ...], ...] = ()

    def mask(self, build: OnnxGraphBuilder, body: TracedBody, length: Value) -> Value | None:
        """Return, in the order of time, whether the step of each row counts, (T, N) or (T, 1); None if unknown.

        length: the number of iterations.
        """
        found = [_sequence(build, body, root, length) for root in self.roots]
        total: Value | None = None
        for way in self.ways:
            every: Value | None = None
            for truth, sequence in zip(way, found, strict=True):
                if sequence is None:
                    return None
                part = sequence if truth else build.emit("unary", sequence, kind="not")
                every = part if every is None else build.emit("logical", every, part, kind="and")
            total = every if total is None or every is None else build.emit("logical", total, every, kind="or")
        return total


def visibility(body: TracedBody, trial: Trial, open_states: Sequence[int]) -> Visibility | None:
    """Return which steps of a body count; None if its bools do something other than skip steps."""
    outputs = [body.next_states[i] for i in open_states] + body.scans
    needed, _ = needed_nodes(body.nodes, outputs)
    roots = _roots(body, needed)
    if not roots or len(roots) > _MOST_ROOTS:
        return Visibility((trial, trial.draws()))
    seen: list[tuple[Trial, list[Draw]]] = []
    hidden: list[tuple[Trial, list[Draw]]] = []
    ways = []
    for way in product((False, True), repeat=len(roots)):
        masks = {id(root): np.full(_shape(root, trial.rows), truth) for root, truth in zip(roots, way, strict=True)}
        tried = trial.with_masks(masks)
        draws = tried.draws()
        held = [held_state(body, i, draws) for i in open_states]
        if any(held) and all(h or is_zero(body.next_states[i], draws) for h, i in zip(held, open_states, strict=True)):
            hidden.append((tried, draws))
        else:
            seen.append((tried, draws))
            ways.append(way)
    if not seen or not hidden or any(not _equal(outputs, seen[0][1], draws) for _, draws in seen[1:]):
        return None
    if any(not _equal(body.scans, hidden[0][1], draws) for _, draws in hidden[1:]):
        return None
    if not _by_rows(body, trial, roots, ways, open_states, (seen[0][1], hidden[0][1])):
        return None
    return Visibility(seen[0], hidden[0], tuple(roots), tuple(ways))


def _by_rows(
    body: TracedBody,
    trial: Trial,
    roots: Sequence[Value],
    ways: Sequence[tuple[bool, ...]],
    open_states: Sequence[int],
    known: tuple[list[Draw], list[Draw]],
) -> bool:
    """Return whether each row follows its own mask, tested with masks that differ from row to row."""
    rng = late("numpy.random").default_rng(0)
    masks = {id(root): rng.integers(0, 2, _shape(root, trial.rows)).astype(bool) for root in roots}
    if any(mask.size not in (1, trial.rows) for mask in masks.values()):
        return False
    truths = [np.broadcast_to(mask.reshape(-1), trial.rows).tolist() for mask in masks.values()]
    counts = np.array([way in ways for way in zip(*truths, strict=True)])
    mixed = trial.with_masks(masks).draws()
    for i in open_states:
        layout, after = trial.coming[id(body.states[i])], id(body.next_states[i])
        for mix, seen, hidden in zip(mixed, *known, strict=True):
            if any(after not in draw for draw in (mix, seen, hidden)):
                return False
            a, b, c = (layout.rows_of(draw[after]) for draw in (mix, seen, hidden))
            if not np.array_equal(a, np.where(counts[:, None], b, c)):
                return False
    return True


def held_state(body: TracedBody, i: int, draws: Sequence[Draw]) -> bool:
    """Return whether state `i` is unchanged in every draw."""
    a, b = body.next_states[i], body.states[i]
    return all(id(a) in draw and id(b) in draw and np.array_equal(draw[id(a)], draw[id(b)]) for draw in draws)


def is_zero(value: Value, draws: Sequence[Draw]) -> bool:
    """Return whether the value is zero in every draw."""
    return all(id(value) in draw and not draw[id(value)].any() for draw in draws)


def _equal(values: Sequence[Value], first: Sequence[Draw], second: Sequence[Draw]) -> bool:
    return all(
        np.array_equal(a[id(v)], b[id(v)]) if id(v) in a and id(v) in b else id(v) not in a and id(v) not in b
        for v in values
        for a, b in zip(first, second, strict=True)
    )


def _roots(body: TracedBody, needed: Sequence[BuiltNode]) -> list[Value]:
    """Return the bools that do not follow from other bools and can be computed for all iterations at once."""
    read = {id(v) for node in needed for v in node.inputs if v is not None}
    roots = [body.values[key] for key in body.steps if key in read and body.values[key].dtype == "bool"]
    compared = [node for node in needed if node.op == "compare"]
    return roots + [n.outputs[0] for n in compared if _sides(body, n.inputs, body.numbers) is not None]


def _sides(
    body: TracedBody, inputs: Sequence[Value | None], numbers: Mapping[int, Number]
) -> list[Number | Value] | None:
    """Return both sides of a comparison if each counts iterations or comes from outside, and at least one counts."""
    sides: list[Number | Value] = []
    for value in inputs:
        if value is None or (id(value) not in numbers and id(value) in body.made):
            return None
        sides.append(numbers.get(id(value), value))
    return sides if any(isinstance(side, Number) for side in sides) else None


def _shape(root: Value, rows: int) -> tuple[int, ...]:
    return tuple(n if isinstance(n, int) else rows for n in root.sizes or ())


def _sequence(build: OnnxGraphBuilder, body: TracedBody, root: Value, length: Value) -> Value | None:
    """Return a bool over all iterations in the order of time, (T, N) or (T, 1), or None."""
    step = body.steps.get(id(root))
    if step is not None:
        layout = layout_of(body.sizes_of(root))
        x = None if layout is None or layout.width != 1 else step.sequence(build, body.length, layout)
        return None if x is None else build.emit("squeeze", x, axes=[2])
    node = next(n for n in body.nodes if root in n.outputs)
    sides = _sides(body, node.inputs, body.numbers)
    if sides is None or root.rank is None or root.rank > 2 or (root.rank == 2 and root.sizes and root.sizes[1] != 1):
        return None
    given = []
    for side, value in zip(sides, node.inputs, strict=True):
        assert value is not None
        if isinstance(side, Value):
            flat = build.emit("reshape", side, build.integers([1, -1]))
            given.append(flat)
            continue
        counted = _counted(build, side, length, any(step.backward for step in body.steps.values()))
        if counted is None:
            return None
        given.append(counted if value.dtype == "int64" else build.emit("cast", counted, to=value.dtype))
    return build.emit("compare", *given, kind=node.attrs["kind"])


def _counted(build: OnnxGraphBuilder, number: Number, length: Value, backward: bool) -> Value | None:
    """Return the value of `number` for each step in the order of time, (T, 1), or None if its start is unknown."""
    if not isinstance(number.start, int):
        return None
    zero, one = (build.constant(n, dtype="int64") for n in (0, 1))
    at = build.emit("unsqueeze", build.emit("range", zero, length, one), axes=[1])
    if backward:
        at = build.emit("binary", build.emit("binary", length, one, kind="sub"), at, kind="sub")
    if number.slope != 1:
        at = build.emit("binary", at, build.constant(number.slope, dtype="int64"), kind="mul")
    return build.emit("binary", at, build.constant(number.start, dtype="int64"), kind="add") if number.start else at
