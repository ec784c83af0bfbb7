"""The number of iterations of a loop, from its count and from conditions that compare a counter with a bound."""

from collections.abc import Mapping, Sequence
from typing import Final

from fastgru.graphbuilder import BuiltNode, Value
from fastgru.importers.onnx.loops.form import LoopForm
from fastgru.importers.onnx.loops.iterations import Number, whole_size
from fastgru.reference.sizes import Size, add, at_least, extreme, subtract

__all__ = ["trip_count"]

_MAX_DEPTH: Final = 8


def trip_count(
    form: LoopForm,
    going_on: Value,
    nodes: Sequence[BuiltNode],
    outer: Sequence[BuiltNode],
    numbers: Mapping[int, Number],
) -> Size:
    """Return the number of iterations: a number, a named size, or None if it is unknown.

    The condition before the first iteration must not set a bound that the condition after each iteration lacks. If it
    is absent or always true, the first iteration runs whatever the other condition says.
    """
    first = _bounds(form.condition, outer, {}, at=0) if form.condition is not None else []
    later = _bounds(going_on, nodes, numbers, at=1)
    if first is None or later is None or not set(first) <= set(later):
        return None
    bounds: set[Size] = set(later)
    limit = None if form.endless else _limit(form, outer)
    if not first and not bounds <= {limit}:
        bounds = {max(n, 1) if isinstance(n, int) else n if at_least(n, 1) else None for n in bounds}
    if not form.endless:
        bounds.add(limit)
    least = next(iter(bounds), None)
    for n in bounds:
        least = None if n is None or least is None else extreme(least, n, greater=False)
    return max(least, 0) if isinstance(least, int) else least


def _limit(form: LoopForm, outer: Sequence[BuiltNode]) -> Size:
    return form.limit if form.limit not in ("?", None) else whole_size(form.count, outer)


def _bounds(
    condition: Value,
    nodes: Sequence[BuiltNode],
    numbers: Mapping[int, Number],
    *,
    at: int,
    holds: bool = True,
    depth: int = 0,
) -> list[Size] | None:
    """Return the upper bounds of the number of iterations for which a condition is true (false if not `holds`).

    at: 1 for a condition after each iteration, 0 for one before the first. The list is empty if there is no bound;
    None if the bounds are unknown.
    """
    if condition.array is not None:
        return [] if condition.array.size == 1 and bool(condition.array.all()) == holds else None
    node = next((n for n in nodes if any(v is condition for v in n.outputs)), None)
    if node is None or depth > _MAX_DEPTH:
        return None
    inputs = [v for v in node.inputs if v is not None]

    def of(value: Value, holds: bool) -> list[Size] | None:
        return _bounds(value, nodes, numbers, at=at, holds=holds, depth=depth + 1)

    match node.op:
        case "logical" if node.attrs["kind"] == ("and" if holds else "or"):
            parts = [of(v, holds) for v in inputs]
            return None if None in parts else [n for part in parts if part is not None for n in part]
        case "unary" if node.attrs["kind"] == "not":
            return of(inputs[0], not holds)
        case "cast" | "reshape" | "squeeze" | "unsqueeze" if inputs[0].dtype == "bool":
            return of(inputs[0], holds)
        case "compare" if len(inputs) == 2:
            left = _margin(node.attrs["kind"], inputs, nodes, numbers, holds)
            return None if left is None else _solved(left, at)
    return None


def _margin(
    kind: str, inputs: Sequence[Value], nodes: Sequence[BuiltNode], numbers: Mapping[int, Number], holds: bool
) -> Number | None:
    """Return a number that is above 0 exactly if a comparison of whole numbers is true (false if not `holds`)."""
    if not holds:
        kind = {"less": "greater_equal", "less_equal": "greater", "greater": "less_equal", "greater_equal": "less"}.get(
            kind, ""
        )
    if kind not in ("less", "less_equal", "greater", "greater_equal"):
        return None
    low, high = inputs if kind.startswith("less") else inputs[::-1]
    a, b = (numbers.get(id(v)) or Number(0, whole_size(v, nodes)) for v in (low, high))
    margin = add(subtract(b.start, a.start), int(kind.endswith("equal")))
    return None if margin is None else Number(b.slope - a.slope, margin)


def _solved(margin: Number, at: int) -> list[Size] | None:
    """Return how many iterations run while the margin is above 0. at: as in `_bounds`."""
    slope, start = margin.slope, margin.start
    if slope == 0:
        # The margin does not change: before the first iteration, which is number 0, it is the number of iterations.
        return [start] if at == 0 else [] if isinstance(start, int) and start > 0 else None
    if slope > 0:
        return [] if isinstance(start, int) and start > 0 else None
    if slope == -1:
        return [add(start, at)]
    return [add(-(-start // -slope), at)] if isinstance(start, int) else None
