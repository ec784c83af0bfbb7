"""Loops: the body is planned once, and runs once an iteration within the same native call."""

from collections.abc import Sequence
from math import prod
from typing import Any, Final

from fastgru.engine.ahead import Steps, made_ahead
from fastgru.engine.buffers import Buffer, Constant, Region, Value, View, itemsize
from fastgru.engine.builder import PlanBuilder
from fastgru.engine.emission import Jump
from fastgru.engine.lowering import lowering
from fastgru.engine.nodes import lower_nodes
from fastgru.engine.ops.cast import as_dtype, check_integers
from fastgru.errors import ShapeError, UnsupportedModelError
from fastgru.graph import Node, Subgraph
from fastgru.kernels.operands.loop import LAND, LOOP, RECORD
from fastgru.reference.loop import MAX_ITERATIONS
from fastgru.reference.shape import normal_axis

__all__ = ["lower_loop"]

_MOST_PLACES: Final = 8  # buffers that an initial state may lie in
_BLOCK_BYTES: Final = 1 << 20  # of a block of stacked rows, in a loop of unknown length
_WORK_OF_BYTES: Final = 8  # work, in the unit of `LOOK_WORK`, for each byte that an instruction reads or writes


@lowering("loop")
def lower_loop(
    builder: PlanBuilder, node: Node, limit: Value | None = None, condition: Value | None = None, *values: Value
) -> list[Value]:
    """Lower a loop. Its outputs are the last states, then the stacked tensors."""
    return _Loop(builder, node, limit, condition, values).outputs()


class _Loop:
    """A loop that is about to be emitted.

    trips: the most iterations, -1 for no bound. limit, condition: the inputs of that name if they are not constant.
    rows: the rows of a block of stacked outputs if the number of iterations is unknown, otherwise 0.
    """

    def __init__(
        self, builder: PlanBuilder, node: Node, limit: Value | None, condition: Value | None, values: Sequence[Value]
    ) -> None:
        self.builder, self.node, attrs = builder, node, node.attrs
        self.body: Subgraph = attrs["body"]
        K, S = attrs["states"], len(attrs["axes"])
        if len(values) != K + S + len(self.body.captured):
            raise ShapeError(f"{len(values)} inputs for {K} states, {S} sequences and {len(self.body.captured)} values")
        self.first = [self._initial(value) for value in values[:K]]
        views = [builder.view(value) for value in values[K : K + S]]
        self.sequences = [x if min(x.strides, default=0) >= 0 else builder.contiguous(x) for x in views]
        self.axes = [normal_axis(axis, x.ndim) for axis, x in zip(attrs["axes"], views, strict=True)]
        self.backward = list(attrs["backward"])
        self.rest = values[K + S :]
        self.most: int = attrs.get("max_iterations", MAX_ITERATIONS)
        self.limit: View | None = None
        self.condition: View | None = None
        self.trips = self._count(limit, condition)
        self.wanted = [bool(name) for name in (*node.outputs[K:], *[""] * len(attrs["output_axes"]))]
        self.rows = 0
        for view in (*self.first, *self.sequences, *(v for v in self.rest if isinstance(v, View))):
            builder.touch(view)

    def _initial(self, value: Value) -> View:
        """Return an initial state, uncopied unless it may lie in many buffers, which would all have to be kept."""
        view = self.builder.contiguous(value)
        if len(view.buffer.over) <= _MOST_PLACES:
            return view
        return self.builder.assemble(view.shape, view.dtype, [Region((0,) * view.ndim, view)])

    def _count(self, limit: Value | None, condition: Value | None) -> int:
        builder = self.builder
        lengths = {x.shape[axis] for x, axis in zip(self.sequences, self.axes, strict=True)}
        if len(lengths) > 1:
            raise ShapeError(f"the sequences have {sorted(lengths)} steps, expected the same number")
        if limit is not None:
            check_integers(builder, limit=limit)
            known = _one(limit, "limit")
            if known is None:
                self.limit = builder.contiguous(as_dtype(builder, limit, "int64"))
            else:
                lengths.add(max(known, 0))
        if condition is not None:
            known = _one(condition, "condition", dtype="bool")
            if known is None:
                self.condition = builder.contiguous(condition)
            elif not known:
                lengths.add(0)
        return min(lengths, default=-1)

    def outputs(self) -> list[Value]:
        """Emit the loop, and return the values of the node."""
        builder, body = self.builder, self.body
        names, nodes = self._ahead()
        record = builder.new((RECORD.words,), "int64")
        banks = [(builder.new(x.shape, x.dtype), builder.new(x.shape, x.dtype)) for x in self.first]
        begin = builder.jump("loop_begin", LOOP)
        members, builder.members = builder.members, 1  # one member carries out the whole loop
        with builder.inside(begin):
            now = [builder.moving(x, (x, *both)) for x, both in zip(self.first, banks, strict=True)]
            slices = [self._slice(i) for i, _ in enumerate(self.sequences)]
            given: list[Value] = [record.as_strided((), ()), *now, *(view for view, *_ in slices), *self.rest]
            found = dict(zip((*body.inputs, *names, *body.captured), given, strict=True))
            lower_nodes(builder, nodes, found)
            builder.label = str(self.node)
            going = self._going(found)
            following = [self._carry(i, found, x, both) for i, (x, both) in enumerate(zip(now, banks, strict=True))]
            stacked = self._stack([builder.view(found[name]) for name in body.outputs[1 + len(now) :]])
            last = builder.jump("loop_next", LOOP)
        builder.members = members
        end = builder.jump("land", LAND, {})
        table: list[Buffer | View | int] = []
        for x, both, before, after in zip(self.first, banks, now, following, strict=True):
            table += [before.buffer, after.buffer, x, *both]
        for view, source, step in (*slices, *((row, start, step) for row, start, _, step in stacked)):
            table += [view.buffer, source, step]
        words: dict[str, Any] = {
            "record": record, "limit": self.limit, "condition": self.condition, "trips": self.trips, "most": self.most,
            "counts": len(builder.scopes) > 1 or not slices, "outermost": len(builder.scopes) == 1, "first": 0,
            "end": 0, "rows": self.rows, "work": self._work(begin, last), "states": len(now), "sequences": len(slices),
            "stacked": len(stacked), "table": [],
        }  # fmt: skip
        made = [full for _, _, full, _ in stacked]
        holds = [*(v for both in banks for v in both), *made, *self.sequences, *self.first]
        for jump, also in ((begin, None), (last, going)):
            jump.tensors, jump.words = LOOP.encode({**words, "going": also})
            jump.targets, jump.skip, jump.holds, jump.table = {"first": (begin, 1), "end": (end, 0)}, end, holds, table
            for tensor in jump.tensors:
                if tensor is not None:
                    builder.touch(tensor)
        last.repeats = begin
        return [
            *(builder.moving(view, (view,), view) for view in now),
            *(made.pop(0) if wanted else Constant() for wanted in self.wanted),
        ]

    @property
    def open_ended(self) -> bool:
        """True if the number of iterations is known only when the loop has run."""
        stops = self.limit is not None or self.condition is not None or bool(self.body.outputs[0])
        return stops or self.trips < 0

    def _ahead(self) -> tuple[list[str], Sequence[Node]]:
        """Move nodes that depend on sequences, but on no state, before the loop.

        Returns the names of the sequences that this adds, and the nodes that are left for the body.
        """
        body, steps = self.body, {}
        count = min((x.shape[axis] for x, axis in zip(self.sequences, self.axes, strict=True)), default=0)
        if self.open_ended or not 1 < count <= 2 * self.trips:
            return [], body.nodes
        names = body.inputs[len(body.inputs) - len(self.sequences) :]
        for name, x, axis, back in zip(names, self.sequences, self.axes, self.backward, strict=True):
            shape, strides = ((a[axis], *a[:axis], *a[axis + 1 :]) for a in (x.shape, x.strides))
            steps[name] = Steps(x.as_strided(shape, strides), back)
        left = made_ahead(self.builder, body.nodes, steps, dict(zip(body.captured, self.rest, strict=True)))
        self.builder.label = str(self.node)
        read = {*body.outputs, *(name for node in left for name in node.inputs)}
        made = [name for name in steps if name in read and name not in names]
        for name in made:
            self.sequences.append(steps[name].value)
            self.axes.append(0)
            self.backward.append(steps[name].backward)
            self.builder.touch(steps[name].value)
        return made, left

    def _slice(self, i: int) -> tuple[View, View, int]:
        """Return for sequence i the slice of an iteration, the slice of the first one, and the bytes to the next."""
        x, axis = self.sequences[i], self.axes[i]
        back, T, stride = self.backward[i], x.shape[axis], x.strides[axis]
        shape, strides = ((*a[:axis], *a[axis + 1 :]) for a in (x.shape, x.strides))
        start = x.moved((T - 1) * stride) if back and T else x.offset
        first = View(x.buffer, start, shape, strides, x.dtype)
        return self.builder.moving(first, (x,)), first, (-stride if back else stride) * itemsize(x.dtype)

    def _going(self, found: dict[str, Value]) -> View | None:
        """Return the flag that says whether the loop goes on; None if that does not depend on an iteration.

        A flag that is constantly false limits `trips` to one.
        """
        if not self.body.outputs[0]:
            return None
        value = found[self.body.outputs[0]]
        known = _one(value, "whether a loop goes on", dtype="bool")
        if known is None:
            return self.builder.contiguous(value)
        if not known:
            self.trips = min(self.trips, 1) if self.trips >= 0 else 1
        return None

    def _carry(self, i: int, found: dict[str, Value], before: View, banks: tuple[View, View]) -> View:
        """Return state i after an iteration, which is written to the bank that does not hold the state before it."""
        value = self.builder.view(found[self.body.outputs[1 + i]])
        if value.shape != before.shape or value.dtype != before.dtype:
            raise UnsupportedModelError(
                f"state {i} of the loop ({self.body.inputs[1 + i]!r}) is {before.dtype} {before.shape} before an"
                f" iteration and {value.dtype} {value.shape} after it; a carried state keeps its shape: give it its"
                " full size from the start, or export a fixed number of iterations unrolled"
            )
        place = self.builder.moving(before, banks)
        self.builder.own(value, place.buffer)
        return place

    def _stack(self, rows: Sequence[View]) -> list[tuple[View, View, View, int]]:
        """Return for each stacked output an iteration's row, the first row, all rows, and the bytes from row to row."""
        attrs, stacked = self.node.attrs, []
        kept = [(i, row) for i, row in enumerate(rows) if self.wanted[i]]
        if kept and self.open_ended:
            self.rows = self._block([row for _, row in kept], attrs["output_axes"], attrs["output_backward"])
        for i, row in kept:
            axis, count = normal_axis(attrs["output_axes"][i], row.ndim + 1), self.rows or self.trips
            back = attrs["output_backward"][i]
            full = self.builder.new((*row.shape[:axis], count, *row.shape[axis:]), row.dtype)
            full.buffer.depth -= 1
            stride = full.strides[axis]
            shape, strides = ((*a[:axis], *a[axis + 1 :]) for a in (full.shape, full.strides))
            start = full.moved((count - 1) * stride) if back and count else 0
            place = self.builder.moving(View(full.buffer, start, shape, strides, full.dtype), (full,))
            if axis:
                self.builder.put(row, place)
            else:
                self.builder.own(row, place.buffer)
            if self.rows:
                self.builder.open_ended.add(full.buffer)
            first = View(full.buffer, start, shape, strides, full.dtype)
            stacked.append((place, first, full, (-stride if back else stride) * itemsize(full.dtype)))
        return stacked

    def _block(self, rows: Sequence[View], axes: Sequence[int], backward: Sequence[bool]) -> int:
        """Return the number of rows that are stacked before the caller takes them away."""
        if len(self.builder.scopes) > 2:
            raise UnsupportedModelError(
                "a loop within a loop or a branch stacks outputs, and their number is known only after it has run;"
                " stack a fixed number"
            )
        if any(axes) or any(backward):
            raise UnsupportedModelError(
                "a loop of unknown length can stack its outputs only along the first axis, and only forward"
            )
        nbytes = sum(row.size * itemsize(row.dtype) for row in rows)
        most = self.most if self.trips < 0 else max(self.trips, 1)
        return max(min(_BLOCK_BYTES // max(nbytes, 1), most), 1)

    def _work(self, begin: Jump, last: Jump) -> int:
        """Return the work of an iteration, in the unit of `LOOK_WORK`: after so much work, a run looks for signals."""
        steps = self.builder.instructions
        body = steps[self.builder.place_of(begin) + 1 : self.builder.place_of(last)]
        views = [view for step in body for view in step.tensors if view is not None]
        return _WORK_OF_BYTES * (512 * len(body) + sum(view.size * itemsize(view.dtype) for view in views))


def _one(value: Value, what: str, dtype: str = "") -> int | None:
    """Return the one number of a constant; None if the value is known only when the plan runs."""
    if prod(value.shape) != 1 or (dtype and value.dtype != dtype):
        raise ShapeError(f"{what} is {value.dtype} {value.shape}, expected one {dtype or 'integer'}")
    return int(value.array.reshape(-1)[0]) if isinstance(value, Constant) else None
