"""Tensors that are put together from others: concatenations, pads, scattered blocks, copies in another order.

Such a tensor is a list of regions until something has to read it from memory. A view that lies within one region reads
the source of that region; what nobody reads is never copied; and an instruction that computes a whole region, and that
nothing has read yet, writes it where it belongs.
"""

from collections.abc import Callable, Sequence
from typing import Final

from fastgru.engine.boxes import MAX_BOXES, box_of, common_box, visible
from fastgru.engine.buffers import Buffer, Region, Value, View, contiguous_strides, itemsize
from fastgru.engine.emission import Emitter
from fastgru.engine.memory import Packs
from fastgru.engine.positions import expanded, inverse, positions
from fastgru.engine.strides import LEAST_TRANSPOSED, broadcast_strides, merged_axes, nditer_words, transposing
from fastgru.errors import ShapeError, UnsupportedModelError
from fastgru.kernels.operands.movement import COPY, MAX_RANK

__all__ = ["LazyCopies"]

_MAX_DEPTH: Final = 16  # of tensors that are made of tensors that are not in memory yet


class LazyCopies(Emitter):
    """Copies only what an instruction reads, and only when it does."""

    def __init__(self, float_dtype: str, packs: Packs, constant_bytes: int = 0) -> None:
        super().__init__(float_dtype, packs, constant_bytes)

    def view(self, value: Value) -> View:
        """A value as a tensor; a constant in the dtype it is computed in."""
        return _resolved(value) if isinstance(value, View) else self.placed(value)

    def floats(self, value: Value, name: str = "x") -> View:
        """A value as a tensor of floats; `ShapeError` for one of anything else."""
        if (dtype := self.dtype(value)) != self.float_dtype:
            raise ShapeError(f"{name} has dtype {dtype}, expected a float")
        return self.view(value)

    def contiguous(self, value: Value) -> View:
        """The value in C order, copied if it is not."""
        view = self.view(value)
        if view.contiguous:
            return view.as_strided(view.shape, contiguous_strides(view.shape))

        def copied(before: bool) -> View:
            copy = self.assemble(view.shape, view.dtype, [Region((0,) * view.ndim, view, self.label)])
            if before:  # or it would be made where it is read, again and again
                self.flush(copy.buffer)
            return copy

        return self.made_of(view, "contiguous", copied)

    def made_of(self, view: View, what: str, make: Callable[[bool], View]) -> View:
        """What is made of a tensor, before the loops that it is outside of: once, as long as it is there.

        make(whether that is before a loop that is being emitted).
        """
        key = (what, view.buffer, view.offset, view.shape, view.strides, view.dtype)
        made = next((scope.copies[key] for scope in self.scopes if key in scope.copies), None)
        if made is None:
            with self.outside(view.buffer.depth) as scope:
                made = scope.copies[key] = make(scope is not self.scopes[-1])
        return made

    def rows(self, value: Value) -> View:
        """The value as it lies where it lies in rows, or where bringing it into rows takes long; else copied."""
        view = self.view(value)
        if view.size < LEAST_TRANSPOSED or view.strides[-1] == 1:
            return view
        quick = transposing(list(view.shape), list(view.strides), list(contiguous_strides(view.shape)))
        return view if quick is None else self.contiguous(view)

    def broadcast_rows(self, shape: tuple[int, ...], views: Sequence[View]) -> tuple[list[View], list[int]]:
        """The views, and how a kernel goes over them as `shape`: a view that does not lie in rows is copied.

        The stride within a row is 0 or 1.
        """
        views = list(views)
        axes = merged_axes(shape, [broadcast_strides(v, shape) for v in views])
        if uneven := [k for k, step in enumerate(axes[-1][1]) if step not in (0, 1)]:
            for k in uneven:
                views[k] = self.contiguous(views[k])
            axes = merged_axes(shape, [broadcast_strides(v, shape) for v in views])
        return views, nditer_words(axes)

    def assemble(self, shape: Sequence[int], dtype: str, regions: Sequence[Region]) -> View:
        """A tensor of `regions`, of which a later one hides the earlier ones; together they cover all of it."""
        view = self.new(shape, dtype)
        if view.size:
            if sum(_count_copies(r.source.buffer, MAX_BOXES) for r in regions) > MAX_BOXES:
                # Or all of them would be copied box by box, and a concat of a tensor with itself has twice as many.
                for region in regions:
                    self.flush(region.source.buffer)
            view.buffer.regions = [r for r in regions if r.source.size]
            if _depth(view.buffer) > _MAX_DEPTH or len(regions) > MAX_BOXES:
                self.flush(view.buffer)
        return view

    def put(self, value: Value, target: View) -> None:
        """target = value, by the instruction that computes it if it can, by copies if not."""
        self._place(self.view(value), target)

    def own(self, value: Value, place: Buffer) -> None:
        """Have a value, whole and in order, in `place`, which moves: the buffer that it fills is there from now on."""
        view = self.view(value)
        if not (view.whole and view.buffer.kind == "arena" and view.buffer.depth == self.depth):
            view = self.assemble(view.shape, view.dtype, [Region((0,) * view.ndim, view, self.label)])
        self.flush(view.buffer)
        view.buffer.kind, view.buffer.alias, view.buffer.over = "moving", place, place.over

    def touch(self, view: View) -> None:
        """Have a tensor in memory, for an instruction that reads or writes it."""
        self.flush(view.buffer)
        super().touch(view)

    def flush(self, buffer: Buffer) -> None:
        """Copy a tensor together in its buffer, where it is not there yet."""
        regions, buffer.regions = buffer.regions, None
        if regions is None:
            return
        shape = buffer.shape
        with self.ahead():
            whole = View(buffer, 0, shape, contiguous_strides(shape), regions[0].source.dtype)
            for region, (low, high) in visible(shape, regions):
                size = tuple(h - l for l, h in zip(low, high, strict=True))
                source = region.source.subview(tuple(a - b for a, b in zip(low, region.start, strict=True)), size)
                self.label = region.label or self.label
                self._place(source, whole.subview(low, size))

    def copy(self, source: View, target: View) -> None:
        """Element by element, any strides on both sides; shapes are equal."""
        if source.size == 0:
            return
        axes = merged_axes(source.shape, [source.strides, target.strides])
        shape, strides_in, strides_out = [n for n, _ in axes], [s[0] for _, s in axes], [s[1] for _, s in axes]
        if len(shape) > MAX_RANK:
            raise UnsupportedModelError(
                f"{self.label}: a copy over {len(shape)} axes is not supported, expected at most {MAX_RANK}: merge some"
                " axes"
            )
        op, width = "copy", 8 * itemsize(source.dtype)
        if width >= 32 and source.size >= LEAST_TRANSPOSED and (order := transposing(shape, strides_in, strides_out)):
            op = "transpose"
            shape, strides_in, strides_out = ([a[i] for i in order] for a in (shape, strides_in, strides_out))
        ones, zeros = [1] * (MAX_RANK - len(shape)), [0] * (MAX_RANK - len(shape))
        self.emit(op, f"int{width}", COPY, {
            "source": source, "target": target, "shape": ones + shape,
            "source_strides": zeros + strides_in, "target_strides": zeros + strides_out,
        })  # fmt: skip

    def _place(self, source: View, target: View) -> None:
        """target = source, by the instruction that computes the source if it can, by copies if not."""
        source = _resolved(source)
        if source.buffer.regions is not None and self._split(source, target):
            return
        self.flush(source.buffer)
        if not _redirected(source, target):
            self.copy(source, target)

    def _split(self, source: View, target: View) -> bool:
        """Copy box after box from a tensor that is not in memory itself; False where the boxes cut across the view."""
        buffer = source.buffer
        where = positions(source, buffer.shape)
        if where is None:
            return False
        source, target = expanded(source, where), expanded(target, where)
        axes = [f for factors in where.factors for f in factors]
        moving = [f.axis for f in axes if f.axis >= 0]
        if any(f.step != 1 for f in axes if f.axis >= 0) or len(set(moving)) < len(moving):
            return False
        assert buffer.regions is not None
        hull = (where.low, tuple(h + 1 for h in where.high))
        for _, box in visible(buffer.shape, buffer.regions):
            common = common_box(hull, box)
            if common is None:
                continue
            first = tuple(common[0][f.axis] - where.low[f.axis] if f.axis >= 0 else 0 for f in axes)
            size = tuple(common[1][f.axis] - common[0][f.axis] if f.axis >= 0 else f.size for f in axes)
            self._place(source.subview(first, size), target.subview(first, size))
        return True


def _count_copies(buffer: Buffer, most: int) -> int:
    """The copies that a tensor takes that is not in memory, 1 for one that is; counts little further than `most`."""
    count = 0 if buffer.regions else 1
    for region in buffer.regions or ():
        if count > most:
            break
        count += _count_copies(region.source.buffer, most - count)
    return count


def _depth(buffer: Buffer) -> int:
    """How many tensors stand behind one another that are not in memory; counts no further than the bound."""
    depth, level = 0, {buffer}
    while level and depth <= _MAX_DEPTH:
        level = {r.source.buffer for b in level for r in b.regions or () if r.source.buffer.regions is not None}
        depth += 1
    return depth


def _resolved(view: View) -> View:
    """The same elements where they lie, as far as that is one view."""
    while view.buffer.regions is not None:
        further = _within_one(view, view.buffer.regions)
        if further is None:
            break
        view = further
    return view


def _within_one(view: View, regions: Sequence[Region]) -> View | None:
    where = positions(view, view.buffer.shape)
    if where is None:
        return None
    hull = (where.low, tuple(h + 1 for h in where.high))
    for region in reversed(regions):
        box = box_of(region)
        common = common_box(hull, box)
        if common == hull:
            return where.through(region.source, region.start)
        if common is not None:
            return None
    return None


def _redirected(source: View, target: View) -> bool:
    """The one instruction that fills the source fills the target instead."""
    buffer = source.buffer
    if buffer.kind != "arena" or buffer.writer is None or buffer.touches != 1:
        return False
    place = inverse(source, buffer.shape, target)
    if place is None or not buffer.writer.redirect(buffer, place):
        return False
    target.buffer.touches += 1
    buffer.regions = [Region((0,) * len(buffer.shape), place)]
    return True
