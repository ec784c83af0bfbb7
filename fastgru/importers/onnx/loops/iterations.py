"""What a loop reads in which iteration: counters, the steps of a sequence, and how many iterations there are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from fastgru.graphbuilder import BuiltNode, Value
from fastgru.importers.onnx.builder import OnnxGraphBuilder
from fastgru.importers.onnx.loops.form import LoopForm
from fastgru.reference.facts import ValueFacts
from fastgru.reference.sizes import Size

__all__ = ["Number", "Step", "count_iterations", "scan_steps", "steps_of", "trip_count"]

# Types that hold a counter; TensorFlow's exporter compares as float32, which is exact for 2^24 iterations.
_COUNTING: Final = ("int32", "int64", "float32", "float64")


@dataclass(frozen=True)
class Number:
    """slope * iteration + start."""

    slope: int
    start: int


@dataclass(frozen=True)
class Step:
    """One step an iteration of a sequence, along an axis, from its beginning or its end."""

    whole: Value
    axis: int
    backward: bool

    def sequence(self, build: OnnxGraphBuilder, length: Size) -> Value | None:
        """(T, N, I) in the order of time, as many steps as there are iterations."""
        x = self.whole
        sizes = x.sizes
        if x.rank not in (2, 3) or sizes is None:
            return None
        if isinstance(length, int) and isinstance(sizes[self.axis], int) and sizes[self.axis] != length:
            ends = (build.integers([0]), build.integers([length]), build.integers([self.axis]))
            x = build.emit("slice", x, *ends)
        if self.axis:
            perm = [self.axis, *(i for i in range(x.rank or 0) if i != self.axis)]
            x = build.emit("transpose", x, perm=perm)
        return build.emit("unsqueeze", x, axes=[1]) if x.rank == 2 else x


def scan_steps(form: LoopForm) -> list[tuple[Value, Step]] | None:
    """For each sequence of a Scan what the body reads of it; None where its axes are not known."""
    rows = []
    for x, axis, backward in zip(form.sequences, form.axes, form.backward, strict=True):
        if x.sizes is None or axis >= len(x.sizes) - 1:
            return None
        row = Value(x.hint, ValueFacts(x.dtype, x.sizes[:axis] + x.sizes[axis + 1 :]))
        rows.append((row, Step(x, axis, backward)))
    return rows


def count_iterations(
    nodes: Sequence[BuiltNode], iteration: Value, before: Sequence[Value], after: Sequence[Value], init: Sequence[Value]
) -> dict[int, Number]:
    """The integers of a Loop's body that follow from the iteration alone, by id; states that count are among them."""
    numbers = {id(iteration): Number(1, 0)}
    for state, first in zip(before, init, strict=True):
        known = first.elements
        if known is not None and len(known) == 1 and isinstance(known[0], int):
            numbers[id(state)] = Number(1, known[0])
    found = _follow(nodes, numbers)
    # A state counts if it is one more after the iteration; what followed from one that does not is dropped.
    counting = {
        id(state)
        for state, next_ in zip(before, after, strict=True)
        if id(state) in numbers and found.get(id(next_)) == Number(1, numbers[id(state)].start + 1)
    }
    return _follow(nodes, {key: n for key, n in numbers.items() if key == id(iteration) or key in counting})


def _follow(nodes: Sequence[BuiltNode], numbers: Mapping[int, Number]) -> dict[int, Number]:
    found = dict(numbers)

    def number(value: Value | None) -> Number | None:
        if value is not None and id(value) in found:
            return found[id(value)]
        known = _whole(value)
        return Number(0, known[0]) if known is not None and len(known) == 1 and isinstance(known[0], int) else None

    for node in nodes:
        a = number(node.inputs[0]) if node.inputs else None
        if a is None or not node.outputs:
            continue
        if node.op in ("cast", "reshape", "squeeze", "unsqueeze"):
            if node.op != "cast" or node.attrs["to"] in _COUNTING:
                found[id(node.outputs[0])] = a
        elif node.op == "binary" and node.attrs["kind"] in ("add", "sub"):
            b = number(node.inputs[1])
            if b is not None:
                sign = 1 if node.attrs["kind"] == "add" else -1
                found[id(node.outputs[0])] = Number(a.slope + sign * b.slope, a.start + sign * b.start)
    return found


def _whole(value: Value | None) -> Sequence[Size] | None:
    """The elements of a vector or a scalar of integers, of which a number may stand in a floating type."""
    array = None if value is None else value.array
    if array is not None and array.dtype.kind == "f" and array.size == 1 and float(array.reshape(-1)[0]).is_integer():
        return (int(array.reshape(-1)[0]),)
    return None if value is None else value.elements


def steps_of(nodes: Sequence[BuiltNode], numbers: Mapping[int, Number], length: Size) -> dict[int, Step]:
    """The values of a Loop's body that are one step of something outside of it, by id."""
    made = {id(value) for node in nodes for value in node.outputs}
    steps = {}
    for node in nodes:
        if node.op not in ("gather", "slice") or node.inputs[0] is None or id(node.inputs[0]) in made:
            continue
        whole, at = node.inputs[0], numbers.get(id(node.inputs[1]))
        sizes = whole.sizes
        if at is None or sizes is None or (whole.array is not None and whole.array.dtype.kind != "f"):
            continue
        axis = node.attrs["axis"] if node.op == "gather" else _single_step(node, at, numbers)
        if axis is None or not -len(sizes) <= axis < len(sizes) - 1 or axis == -1:
            continue
        axis %= len(sizes)
        size = sizes[axis]
        fits = size == length or (isinstance(size, int) and isinstance(length, int) and size >= length)
        if fits and at == Number(1, 0):
            steps[id(node.outputs[0])] = Step(whole, axis, False)
        elif fits and size == length and isinstance(length, int) and at == Number(-1, length - 1):
            steps[id(node.outputs[0])] = Step(whole, axis, True)
    return steps


def _single_step(node: BuiltNode, start: Number, numbers: Mapping[int, Number]) -> int | None:
    """The axis of a slice from an iteration to the next."""
    end = numbers.get(id(node.inputs[2])) if len(node.inputs) > 2 else None
    axes = _whole(node.inputs[3]) if len(node.inputs) > 3 else (0,)
    strides = _whole(node.inputs[4]) if len(node.inputs) > 4 else (1,)
    one = end == Number(start.slope, start.start + 1) and start.slope == 1
    if not one or axes is None or len(axes) != 1 or strides != (1,) or not isinstance(axes[0], int):
        return None
    return axes[0]


def trip_count(
    form: LoopForm,
    going_on: Value,
    nodes: Sequence[BuiltNode],
    outer: Sequence[BuiltNode],
    numbers: Mapping[int, Number],
) -> Size:
    """The number of iterations: a size, or None where it is not one that is known or has a name."""
    first = _bounds(form.condition, outer, {}, at=0) if form.condition is not None else []
    later = _bounds(going_on, nodes, numbers, at=1)
    if first is None or later is None or not set(first) <= set(later):
        return None
    # A loop that begins without asking has a first iteration.
    bounds = {max(n, 1) if isinstance(n, int) and not first else n for n in later}
    if not form.endless:
        bounds.add(form.limit if form.limit != "?" else None)
    numbers_known = [n for n in bounds if isinstance(n, int)]
    if not bounds or None in bounds:
        return None
    if len(numbers_known) == len(bounds):
        return max(min(numbers_known), 0)
    return next(iter(bounds)) if len(bounds) == 1 else None


def _bounds(
    condition: Value, nodes: Sequence[BuiltNode], numbers: Mapping[int, Number], *, at: int, depth: int = 0
) -> list[Size] | None:
    """What the iteration, `at` iterations on, must stay below; an empty list for a condition that always holds."""
    if condition.array is not None:
        return [] if condition.array.size == 1 and condition.array.all() else None
    node = next((n for n in nodes if any(v is condition for v in n.outputs)), None)
    if node is None or depth > 6:
        return None
    if node.op == "logical" and node.attrs["kind"] == "and":
        parts = [_bounds(v, nodes, numbers, at=at, depth=depth + 1) for v in node.inputs if v is not None]
        return None if None in parts else [n for part in parts if part is not None for n in part]
    if node.op in ("cast", "reshape", "squeeze", "unsqueeze") and node.inputs[0] is not None:
        return (
            _bounds(node.inputs[0], nodes, numbers, at=at, depth=depth + 1) if node.inputs[0].dtype == "bool" else None
        )
    if node.op != "compare" or node.attrs["kind"] not in ("less", "greater"):
        return None
    low, high = node.inputs if node.attrs["kind"] == "less" else node.inputs[::-1]
    if low is None or high is None:
        return None
    known = _whole(low)
    number = numbers.get(id(low))
    if number is None and at == 0 and known == (0,):
        number = Number(1, 0)
    bound = _whole(high)
    if number is None or number.slope != 1 or bound is None or len(bound) != 1 or id(high) in numbers:
        return None
    if isinstance(bound[0], int):
        return [bound[0] - number.start + at]
    return [bound[0]] if number.start == at and bound[0] is not None else None
