"""The memory of a plan while it is made: inputs, the arena and constants. Addresses are set at the end."""

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
    constant_bytes: bytes of the constants of the graph, see `Room`.
    label: the node that is being lowered, for messages. depth: the number of nested loops around that node.
    """

    def __init__(self, float_dtype: str, packs: Packs, constant_bytes: int = 0) -> None:
        self.float_dtype, self.packs = float_dtype, packs
        self.room = Room(constant_bytes)
        self.buffers: list[Buffer] = []
        self._constants: dict[int, Buffer] = {}
        self.label = ""
        self.depth = 0

    def input(self, name: str, shape: tuple[int, ...], dtype: str) -> View:
        """Return a view of memory that the caller brings."""
        buffer = self._buffer(prod(whole(shape)) * itemsize(dtype), "input", name)
        self.room.given += buffer.nbytes
        return View(buffer, 0, shape, contiguous_strides(shape), dtype)

    def new(self, shape: Sequence[int], dtype: str | None = None) -> View:
        """Return a fresh contiguous tensor in the arena. Raises `ShapeError` if a plan of these inputs has no room."""
        shape, dtype = whole(shape), dtype or self.float_dtype
        buffer = self._buffer(self.room_for(shape, dtype), "arena")
        buffer.shape = shape
        return View(buffer, 0, shape, contiguous_strides(shape), dtype)

    def moving(self, view: View, over: Sequence[View], alias: View | None = None) -> View:
        """Return a tensor like `view` whose address the instructions of a loop set, somewhere in one of `over`.

        alias: another moving tensor, which has the same address.
        """
        buffer = self._buffer(view.extent, "moving")
        buffer.over = tuple(dict.fromkeys(b for v in over for b in (v.buffer, *v.buffer.over)))
        buffer.alias = None if alias is None else alias.buffer
        return View(buffer, 0, view.shape, view.strides, view.dtype)

    def room_for(self, shape: Sequence[int], dtype: str) -> int:
        """Return the bytes of a tensor. Raises `ShapeError` if they are out of proportion to inputs and constants."""
        nbytes = prod(whole(shape)) * itemsize(dtype)
        if nbytes > self.room.left:
            self.room.check(nbytes, f"{self.label}: a tensor of shape {tuple(shape)}")
        return nbytes

    def constant(self, array: NDArray[Any]) -> View:
        """Return a tensor of the array, which the program keeps alive; one that is not contiguous is copied."""
        shape = array.shape
        array = np.ascontiguousarray(array)  # this gives an array of no axes one axis
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
        """Return a constant that is made once for all plans of the executable; `key` names the weights and the layout.

        sources: the values that it is made of. If one of them belongs to this plan only, so does the constant.
        """
        return self.constant(self.kept(key, make, sources))

    def kept(
        self, key: tuple[str, ...], make: Callable[[], NDArray[Any]], sources: Sequence[Value | None] = ()
    ) -> NDArray[Any]:
        """Return the array of `packed`, for arrays that planning itself reads."""
        if any(isinstance(source, Constant) and not source.name for source in sources):
            return make()
        if key not in self.packs:
            self.packs[key] = make()
        return self.packs[key]

    def dtype(self, value: Value) -> str:
        """Return the dtype in which the plan computes with a value: `float_dtype` for every floating-point value."""
        return self.float_dtype if is_floating(value.dtype) else value.dtype

    def placed(self, constant: Constant) -> View:
        """Return a constant of the graph as a tensor, in the dtype that the plan computes in."""

        def aligned() -> NDArray[Any]:
            array = empty(constant.shape, self.dtype(constant))
            array[...] = constant.array
            return array

        return self.packed((constant.name, "as it is"), aligned, [constant])

    def _buffer(self, nbytes: int, kind: Kind, name: str = "") -> Buffer:
        depth = 0 if kind == "constant" else self.depth
        self.buffers.append(Buffer(nbytes, kind, name, depth=depth))
        return self.buffers[-1]
