"""What a loop reads in each iteration: counters and steps of sequences."""

from collections.abc import Mapping, Sequence
from typing import Final

from fastgru.graphbuilder import BuiltNode, Value
from fastgru.importers.onnx.builder import OnnxGraphBuilder
from fastgru.importers.onnx.loops.form import LoopForm
from fastgru.importers.onnx.loops.layout import Layout
from fastgru.records import dataclass
from fastgru.reference.facts import ValueFacts
from fastgru.reference.sizes import Size, add, multiply, subtract

__all__ = ["Number", "Step", "count_iterations", "scan_steps", "steps_of", "whole_size"]

# Dtypes of counters; TensorFlow's exporter compares them as float32, which is exact for 2^24 iterations.
_COUNTING: Final = ("int32", "int64", "float32", "float64")
_RESHAPING: Final = ("reshape", "squeeze", "unsqueeze")


@dataclass(frozen=True)
class Number:
    """slope * iteration + start."""

    slope: int
    start: Size


@dataclass(frozen=True)
class Step:
    """One step of a sequence in each iteration, along an axis, from its beginning or from its end."""

    whole: Value
    axis: int
    backward: bool

    def sequence(self, build: OnnxGraphBuilder, length: Size, layout: Layout) -> Value | None:
        """Return the sequence (T, N, I) in the order of time, one step per iteration. layout: of one step."""
        x, sizes = self.whole, self.whole.sizes
        if sizes is None:
            return None
        if isinstance(length, int) and isinstance(sizes[self.axis], int) and sizes[self.axis] != length:
            ends = (build.integers([0]), build.integers([length]), build.integers([self.axis]))
            x = build.emit("slice", x, *ends)
        if self.axis:
            perm = [self.axis, *(i for i in range(len(sizes)) if i != self.axis)]
            x = build.emit("transpose", x, perm=perm)
        if len(layout.sizes) == len(sizes):  # the step keeps its axis, of one element
            x = build.emit("unsqueeze", x, axes=[self.axis + 1])
        return layout.gathered(build, x)


def scan_steps(form: LoopForm) -> list[tuple[Value, Step]] | None:
    """Return, for each sequence of a Scan, the value that the body reads and its step; None if a rank is unknown."""
    rows = []
    for x, axis, backward in zip(form.sequences, form.axes, form.backward, strict=True):
        if x.sizes is None:
            return None
        row = Value(x.hint, ValueFacts(x.dtype, x.sizes[:axis] + x.sizes[axis + 1 :]))
        rows.append((row, Step(x, axis, backward)))
    return rows


def count_iterations(
    nodes: Sequence[BuiltNode],
    iteration: Value,
    before: Sequence[Value],
    after: Sequence[Value],
    init: Sequence[Value],
) -> dict[int, Number]:
    """Return the numbers of a body that depend only on the iteration, by id; they include states that count."""
    unit = {id(iteration): Number(1, 0)}
    starts = {id(state): whole_size(first, ()) for state, first in zip(before, init, strict=True)}
    guesses = dict(unit)
    for state, next_ in zip(before, after, strict=True):
        start = starts[id(state)]
        if start is not None and state is not next_:
            # Following the state as 0 gives its increment in one iteration.
            step = _follow(nodes, {id(state): Number(0, 0)}).get(id(next_))
            made = _follow(nodes, unit).get(id(next_))
            if step is not None and isinstance(step.start, int) and step.start:
                guesses[id(state)] = Number(step.start, start)
            elif made is not None and subtract(made.start, made.slope) == start:
                guesses[id(state)] = Number(made.slope, start)
    found = _follow(nodes, guesses)
    # Drop numbers that depend on a state that turned out not to count.
    counting = dict(unit)
    for state, next_ in zip(before, after, strict=True):
        guess = guesses.get(id(state))
        if guess is not None and found.get(id(next_)) == Number(guess.slope, add(guess.start, guess.slope)):
            counting[id(state)] = guess
    return _follow(nodes, counting)


def _follow(nodes: Sequence[BuiltNode], numbers: Mapping[int, Number]) -> dict[int, Number]:
    found = dict(numbers)

    def number(value: Value | None) -> Number | None:
        if value is not None and id(value) in found:
            return found[id(value)]
        known = whole_size(value, ())
        return None if known is None else Number(0, known)

    for node in nodes:
        if found.keys().isdisjoint(map(id, node.inputs)) or not node.outputs:
            continue
        a = number(node.inputs[0])
        if a is None:
            continue
        if node.op in _RESHAPING or (node.op == "cast" and node.attrs["to"] in _COUNTING):
            found[id(node.outputs[0])] = a
        elif node.op == "binary":
            b = number(node.inputs[1])
            made = None if b is None else _combined(node.attrs["kind"], a, b)
            if made is not None and made.start is not None:
                found[id(node.outputs[0])] = made
    return found


def _combined(kind: str, a: Number, b: Number) -> Number | None:
    if kind in ("add", "sub"):
        sign = 1 if kind == "add" else -1
        return Number(a.slope + sign * b.slope, add(a.start, multiply(sign, b.start)))
    if kind == "mul":
        a, factor = (a, b) if not b.slope else (b, a)
        if not factor.slope and isinstance(factor.start, int):
            return Number(a.slope * factor.start, multiply(a.start, factor.start))
    return None


def whole_size(value: Value | None, nodes: Sequence[BuiltNode]) -> Size:
    """Return the whole number that a value of one element has, also as a float; None if it is unknown.

    nodes: those that may have computed the value; a number that was converted to a float is followed through them.
    """
    if value is None:
        return None
    array, elements = value.array, value.elements
    if array is not None and array.dtype.kind == "f" and array.size == 1 and float(array.reshape(-1)[0]).is_integer():
        return int(array.reshape(-1)[0])
    if elements is not None and (len(elements) != 1 or elements[0] is not None):
        return elements[0] if len(elements) == 1 else None
    node = next((n for n in nodes if any(v is value for v in n.outputs)), None)
    if node is None or array is not None:
        return None
    a = whole_size(node.inputs[0], nodes)
    if node.op in (*_RESHAPING, "cast") or (node.op == "unary" and node.attrs["kind"] in ("ceil", "floor", "round")):
        return a
    if node.op == "unary" and node.attrs["kind"] == "neg":
        return multiply(-1, a)
    if node.op != "binary":
        return None
    b = whole_size(node.inputs[1], nodes)
    match node.attrs["kind"]:
        case "add":
            return add(a, b)
        case "sub":
            return subtract(a, b)
        case "mul":
            return multiply(a, b)
        case "div" if b in (1, -1):
            return multiply(a, b)
    return None


def steps_of(nodes: Sequence[BuiltNode], numbers: Mapping[int, Number], length: Size) -> dict[int, Step]:
    """Return the values of a Loop's body that are one step of a value outside it, by id.

    nodes: those that every iteration runs.
    """
    made = {id(value) for node in nodes for value in node.outputs}
    steps = {}
    for node in nodes:
        if node.op not in ("gather", "slice") or node.inputs[0] is None or id(node.inputs[0]) in made:
            continue
        whole, at = node.inputs[0], numbers.get(id(node.inputs[1]))
        sizes = whole.sizes
        if at is None or sizes is None or (whole.array is not None and whole.array.dtype.kind not in "fb"):
            continue
        axis = node.attrs["axis"] if node.op == "gather" else _single_step(node, at, numbers)
        if axis is None or not -len(sizes) <= axis < len(sizes):
            continue
        axis %= len(sizes)
        size = sizes[axis]
        fits = size == length or (isinstance(size, int) and isinstance(length, int) and size >= length)
        # -1 - iteration is a negative position, which counts from the end.
        if fits and at in (Number(1, 0), Number(-1, subtract(length, 1))):
            steps[id(node.outputs[0])] = Step(whole, axis, at.slope < 0)
        elif size == length and at == Number(-1, -1):
            steps[id(node.outputs[0])] = Step(whole, axis, True)
    return steps


def _single_step(node: BuiltNode, start: Number, numbers: Mapping[int, Number]) -> int | None:
    """Return the axis of a slice from one position to the next, or None if the slice is another one."""
    end = numbers.get(id(node.inputs[2])) if len(node.inputs) > 2 else None
    axis = whole_size(node.inputs[3], ()) if len(node.inputs) > 3 and node.inputs[3] is not None else 0
    stride = whole_size(node.inputs[4], ()) if len(node.inputs) > 4 and node.inputs[4] is not None else 1
    # After -1 comes 0, which is the beginning and not the end.
    near = start.start == -1 or (isinstance(start.start, int) and start.slope < 0 and start.start < 0)
    if near or end != Number(start.slope, add(start.start, 1)) or stride != 1 or not isinstance(axis, int):
        return None
    return axis
