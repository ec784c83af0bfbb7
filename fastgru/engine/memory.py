"""Where the tensors of a plan in the making lie: inputs, the arena, constants. Addresses come at the end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgru.engine.buffers import Buffer, Constant, Kind, Value, View, contiguous_strides, itemsize, whole
from fastgru.engine.room import Room
from fastgru.packing.aligned import empty
from fastgru.reference.operator import is_floating

__all__ = ["Memory", "Packs"]

Packs = dict[tuple[str, ...], NDArray[Any]]


class Memory:
    """The buffers of one plan, and the constants that it shares with others.

    float_dtype: the dtype of every floating-point intermediate.
    packs: packed weights, shared by the plans of one executable; see `packed`.
    constant_bytes: of the constants of the graph, see `Room`.
    label: the node that is being lowered, for messages. depth: of loops within loops that it is in.
    """

    def __init__(self, float_dtype: str, packs: Packs, constant_bytes: int = 0) -> None:
        self.float_dtype, self.packs = float_dtype, packs
        self.room = Room(constant_bytes)
        self.buffers: list[Buffer] = []
        self._constants: dict[int, Buffer] = {}
        self.label = ""
        self.depth = 0

    def input(self, name: str, shape: tuple[int, ...], dtype: str) -> View:
        """A view of memory that the caller brings."""
        buffer = self._buffer(prod(whole(shape)) * itemsize(dtype), "input", name)
        self.room.given += buffer.nbytes
        return View(buffer, 0, shape, contiguous_strides(shape), dtype)

    def new(self, shape: Sequence[int], dtype: str | None = None) -> View:
        """A fresh contiguous tensor in the arena. `ShapeError` where a plan of these inputs has no room for it."""
        shape, dtype = whole(shape), dtype or self.float_dtype
        buffer = self._buffer(self.room_for(shape, dtype), "arena")
        buffer.shape = shape
        return View(buffer, 0, shape, contiguous_strides(shape), dtype)

    def moving(self, view: View, over: Sequence[View], alias: View | None = None) -> View:
        """A tensor like `view` that lies where the instructions of a loop say, somewhere in one of `over`.

        alias: another one that it lies where it is.
        """
        buffer = self._buffer(view.extent, "moving")
        buffer.over = tuple(dict.fromkeys(b for v in over for b in (v.buffer, *v.buffer.over)))
        buffer.alias = None if alias is None else alias.buffer
        return View(buffer, 0, view.shape, view.strides, view.dtype)

    def room_for(self, shape: Sequence[int], dtype: str) -> int:
        """The bytes of a tensor; `ShapeError` where they are out of all proportion to inputs and constants."""
        nbytes = prod(whole(shape)) * itemsize(dtype)
        if nbytes > self.room.left:
            self.room.check(nbytes, f"{self.label}: a tensor of shape {tuple(shape)}")
        return nbytes

    def constant(self, array: NDArray[Any]) -> View:
        """A constant as it stands: the array must be contiguous and is kept alive by the program."""
        shape = array.shape
        array = np.ascontiguousarray(array)  # which gives a number an axis
        buffer = self._constants.get(id(array))
        if buffer is None:
            buffer = self._buffer(array.nbytes, "constant")
            buffer.data = array
            self._constants[id(array)] = buffer
            self.room.hold([array], self.label)
        return View(buffer, 0, shape, contiguous_strides(shape), array.dtype.name)

    def packed(
        self, key: tuple[str, ...], make: Callable[[], NDArray[Any]], sources: Sequence[Value | None] = ()
    ) -> View:
        """A constant made once for all plans of the executable; `key` names the weights and the layout.

        sources: what it is made of. Where one is a constant of this plan only, the constant belongs to this plan alone.
        """
        return self.constant(self.kept(key, make, sources))

    def kept(
        self, key: tuple[str, ...], make: Callable[[], NDArray[Any]], sources: Sequence[Value | None] = ()
    ) -> NDArray[Any]:
        """As `packed`, for what planning itself reads."""
        if any(isinstance(source, Constant) and not source.name for source in sources):
            return make()
        if key not in self.packs:
            self.packs[key] = make()
        return self.packs[key]

    def dtype(self, value: Value) -> str:
        """The dtype in which the plan computes with a value: one for everything floating."""
        return self.float_dtype if is_floating(value.dtype) else value.dtype

    def placed(self, constant: Constant) -> View:
        """A constant of the graph as a tensor, in the dtype in which it is computed with."""

        def aligned() -> NDArray[Any]:
            array = empty(constant.shape, self.dtype(constant))
            array[...] = constant.array
            return array

        return self.packed((constant.name, "as it is"), aligned, [constant])

    def _buffer(self, nbytes: int, kind: Kind, name: str = "") -> Buffer:
        depth = 0 if kind == "constant" else self.depth
        self.buffers.append(Buffer(nbytes, kind, name, depth=depth))
        return self.buffers[-1]
