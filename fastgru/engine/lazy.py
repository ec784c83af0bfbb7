"""Tensors that are assembled from others: concatenations, pads, scattered blocks, copies in another order.

Such a tensor is a list of regions until an instruction has to read it from memory. A view that lies within one region
reads the source of that region. A region that nothing reads is never copied. If one instruction computes a whole region
and nothing has read the result yet, it writes the result directly to its place.
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

_MAX_DEPTH: Final = 16  # of tensors that are assembled from other tensors that are not in memory yet


class LazyCopies(Emitter):
    """Copies a tensor only when an instruction reads it."""

    def __init__(self, float_dtype: str, packs: Packs, constant_bytes: int = 0) -> None:
        super().__init__(float_dtype, packs, constant_bytes)

    def view(self, value: Value) -> View:
        """Return a value as a tensor; a constant has the dtype that the plan computes in."""
        return _resolved(value) if isinstance(value, View) else self.placed(value)

    def floats(self, value: Value, name: str = "x") -> View:
        """Return a value as a tensor of floats. Raises `ShapeError` for a value of another type."""
        if (dtype := self.dtype(value)) != self.float_dtype:
            raise ShapeError(f"{name} has dtype {dtype}, expected a float")
        return self.view(value)

    def contiguous(self, value: Value) -> View:
        """Return the value in C order, copied if it is not in C order."""
        view = self.view(value)
        if view.contiguous:
            return view.as_strided(view.shape, contiguous_strides(view.shape))

        def copied(before: bool) -> View:
            copy = self.assemble(view.shape, view.dtype, [Region((0,) * view.ndim, view, self.label)])
            if before:  # otherwise the copy would be made in the loop, where it is read, in every iteration
                self.flush(copy.buffer)
            return copy

        return self.made_of(view, "contiguous", copied)

    def made_of(self, view: View, what: str, make: Callable[[bool], View]) -> View:
        """Return what `make` returns for a tensor, emitted once, before the loops that the tensor is made outside of.

        make: called with True if its instructions come before a loop that is being emitted.
        """
        key = (what, view.buffer, view.offset, view.shape, view.strides, view.dtype)
        made = next((scope.copies[key] for scope in self.scopes if key in scope.copies), None)
        if made is None:
            with self.outside(view.buffer.depth) as scope:
                made = scope.copies[key] = make(scope is not self.scopes[-1])
        return made

    def rows(self, value: Value) -> View:
        """Return the value, copied to C order if its rows are not contiguous and a fast transposing copy exists."""
        view = self.view(value)
        if view.size < LEAST_TRANSPOSED or view.strides[-1] == 1:
            return view
        quick = transposing(list(view.shape), list(view.strides), list(contiguous_strides(view.shape)))
        return view if quick is None else self.contiguous(view)

    def broadcast_rows(self, shape: tuple[int, ...], views: Sequence[View]) -> tuple[list[View], list[int]]:
        """Return the views and the words of an nd-iterator over them, broadcast to `shape`.

        A view whose stride within a row is neither 0 nor 1 is copied.
        """
        views = list(views)
        axes = merged_axes(shape, [broadcast_strides(v, shape) for v in views])
        if uneven := [k for k, step in enumerate(axes[-1][1]) if step not in (0, 1)]:
            for k in uneven:
                views[k] = self.contiguous(views[k])
            axes = merged_axes(shape, [broadcast_strides(v, shape) for v in views])
        return views, nditer_words(axes)

    def assemble(self, shape: Sequence[int], dtype: str, regions: Sequence[Region]) -> View:
        """Return a tensor of `regions`, which together cover it; a later region hides earlier ones."""
        view = self.new(shape, dtype)
        if view.size:
            if sum(_count_copies(r.source.buffer, MAX_BOXES) for r in regions) > MAX_BOXES:
                # The boxes would multiply otherwise: a concat of a tensor with itself has twice as many.
                for region in regions:
                    self.flush(region.source.buffer)
            view.buffer.regions = [r for r in regions if r.source.size]
            if _depth(view.buffer) > _MAX_DEPTH or len(regions) > MAX_BOXES:
                self.flush(view.buffer)
        return view

    def put(self, value: Value, target: View) -> None:
        """Write the value to `target`, by the instruction that computes it if possible, otherwise by copies."""
        self._place(self.view(value), target)

    def own(self, value: Value, place: Buffer) -> None:
        """Have a value written whole, in C order, to `place`: its buffer becomes a moving one with that address."""
        view = self.view(value)
        if not (view.whole and view.buffer.kind == "arena" and view.buffer.depth == self.depth):
            view = self.assemble(view.shape, view.dtype, [Region((0,) * view.ndim, view, self.label)])
        self.flush(view.buffer)
        view.buffer.kind, view.buffer.alias, view.buffer.over = "moving", place, place.over

    def touch(self, view: View) -> None:
        """Bring a tensor into memory for an instruction that reads or writes it."""
        self.flush(view.buffer)
        super().touch(view)

    def flush(self, buffer: Buffer) -> None:
        """Copy the regions of a tensor into its buffer, if they are not there yet."""
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
        """Emit a copy of `source` to `target`, of the same shape, with any strides on both sides."""
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
        """Write the source to `target` as `put` does."""
        source = _resolved(source)
        if source.buffer.regions is not None and self._split(source, target):
            return
        self.flush(source.buffer)
        if not _redirected(source, target):
            self.copy(source, target)

    def _split(self, source: View, target: View) -> bool:
        """Copy box after box from a tensor that is not in memory. Return False if its boxes cut across the view."""
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
    """Count the copies that a tensor takes, 1 for one that is in memory; stop soon after `most`."""
    count = 0 if buffer.regions else 1
    for region in buffer.regions or ():
        if count > most:
            break
        count += _count_copies(region.source.buffer, most - count)
    return count


def _depth(buffer: Buffer) -> int:
    """Return the length of the chain of tensors not in memory that `buffer` begins; count only to the bound."""
    depth, level = 0, {buffer}
    while level and depth <= _MAX_DEPTH:
        level = {r.source.buffer for b in level for r in b.regions or () if r.source.buffer.regions is not None}
        depth += 1
    return depth


def _resolved(view: View) -> View:
    """Return a view of the same elements in the source that holds them, as long as that is one view."""
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
    """Have the one instruction that fills the source fill the target instead. Return False if that cannot be done."""
    buffer = source.buffer
    if buffer.kind != "arena" or buffer.writer is None or buffer.touches != 1:
        return False
    place = inverse(source, buffer.shape, target)
    if place is None or not buffer.writer.redirect(buffer, place):
        return False
    target.buffer.touches += 1
    buffer.regions = [Region((0,) * len(buffer.shape), place)]
    return True
