"""The memory for the states of a pool's sessions: each has a slot with two banks, one of which holds the state.

Slots come in blocks, which are added when sessions need them and never moved, so that their addresses stay valid. Every
read or change of a state is one native call (`kernels.sessions`), which refuses a session that is in use.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, Final, NoReturn

import numpy as np

from fastgru.errors import SessionError, ShapeError, StateError
from fastgru.graph import Array
from fastgru.kernels.operands.sessions import POOL, SLOT
from fastgru.kernels.run import IN_USE, NOT_OPEN, session_calls
from fastgru.packing.aligned import ALIGNMENT, zeros
from fastgru.process import process, short_lock

__all__ = ["Field", "Single", "Store"]

# state -> its shape with one row, its dtype, the axis of the rows (None if each session runs by itself)
Single = dict[str, tuple[tuple[int, ...], np.dtype[Any], int | None]]

_BLOCK_BYTES: Final = 1 << 18
_PLACE_BITS: Final = 32
_HEAD: Final = 8 * SLOT.words

_lock = short_lock()


class Field:
    """One state of a session: its byte offset in a bank, its shape with one row, its dtype, the axis of the rows."""

    def __init__(self, at: int, shape: tuple[int, ...], dtype: np.dtype[Any], axis: int | None) -> None:
        self.at, self.dtype = at, dtype
        self._axis = axis or 0
        self._row = shape if axis is None else (*shape[:axis], *shape[axis + 1 :])
        self._is_whole = axis is None
        self.nbytes = math.prod(shape) * dtype.itemsize
        self.before = math.prod(shape[: self._axis])

    def of(self, banks: Array) -> Array:
        """Return a copy of the state's values in `banks`, (n, bank) uint8, shaped as the model takes them."""
        own = np.ascontiguousarray(banks[:, self.at : self.at + self.nbytes]).view(self.dtype)
        if self._is_whole:
            return own.reshape(self._row)
        return np.ascontiguousarray(np.moveaxis(own.reshape(len(banks), *self._row), 0, self._axis))

    def into(self, banks: Array, values: Array) -> None:
        """Write the state's values into `banks`, (n, bank) uint8: the inverse of `of`."""
        rows = values[None] if self._is_whole else np.moveaxis(values, self._axis, 0)
        rows = np.ascontiguousarray(rows, self.dtype)
        banks[:, self.at : self.at + self.nbytes] = rows.reshape(len(banks), -1).view(np.uint8)

    def shape(self, rows: int) -> tuple[int, ...]:
        """Return the shape of the values of this number of rows."""
        return self._row if self._is_whole else (*self._row[: self._axis], rows, *self._row[self._axis :])


class Store:
    """The states of up to `capacity` sessions. single: the states of one session. start: {state: initial value}.

    Raises `ShapeError` if memory cannot hold so many sessions.
    """

    def __init__(self, single: Single, capacity: int, start: Mapping[str, Array]) -> None:
        self.capacity, self.fields, at = capacity, dict[str, Field](), 0
        for name, (shape, dtype, axis) in single.items():
            self.fields[name] = Field(at, shape, dtype, axis)
            at += -(-self.fields[name].nbytes // ALIGNMENT) * ALIGNMENT
        self.bank = max(at, ALIGNMENT)
        self._slot = _HEAD + 2 * self.bank
        fit = max(1, min(_BLOCK_BYTES // self._slot, capacity))
        self._shift = fit.bit_length() - 1
        self._blocks: list[Array] = []
        try:
            if capacity >> _PLACE_BITS:
                raise MemoryError
            np.empty(capacity * self._slot, np.uint8)  # the final size: untouched pages cost nothing
            self._table = np.zeros((capacity >> self._shift) + 1, np.int64)
        except (MemoryError, OverflowError, ValueError):
            raise ShapeError(
                f"capacity is {capacity}, and each session takes {self._slot} bytes: this is more than memory can hold"
            ) from None
        self.words = np.zeros(POOL.words, np.int64)
        self.words[[POOL.process, POOL.blocks]] = process.ctypes.data, self._table.ctypes.data
        self.words[[POOL.shift, POOL.slot, POOL.bank]] = self._shift, self._slot, self.bank
        self.at = int(self.words.ctypes.data)
        self._start = zeros(self.bank, np.uint8)
        self._start[:] = self._packed(start)
        self._calls = session_calls()
        self.settle = self._calls.settle

    def __len__(self) -> int:
        return int(self.words[POOL.open])

    @property
    def sessions(self) -> tuple[int, ...]:
        """The numbers of the open sessions, the oldest first."""
        heads = [block[:, : SLOT.words] for block in list(self._blocks)]
        found = [(opened, s) for head in heads for s, opened in head[:, [SLOT.session, SLOT.opened]].tolist() if s]
        return tuple([session for _, session in sorted(found)])

    def open(self, state: Mapping[str, Array] | None = None) -> int:
        """Open a session, from the start or from `state`. Raises `SessionError` if the store is full."""
        given = self._start if state is None else self._packed(state)
        while not (session := self._calls.open(self.at, given)):
            self._grow()
        return session

    def close(self, session: Any) -> None:
        self._call(self._calls.close, session)

    def take(self, session: Any) -> dict[str, Array]:
        """Return a copy of the state of a session."""
        bank = np.empty(self.bank, np.uint8)
        self._call(self._calls.copy, session, bank, 0)
        return {name: field.of(bank[None]) for name, field in self.fields.items()}

    def put(self, session: Any, state: Mapping[str, Array] | None) -> None:
        """Replace the state of a session, with None by the start."""
        self._call(self._calls.copy, session, self._start if state is None else self._packed(state), 1)

    def take_bank(self, session: Any, bank: Array) -> None:
        """Copy the state of a session, as it lies in memory, into `bank`, (bank,) uint8."""
        self._call(self._calls.copy, session, bank, 0)

    def put_bank(self, session: Any, bank: Array) -> None:
        """Replace the state of a session by the bytes that `take_bank` copied."""
        self._call(self._calls.copy, session, bank, 1)

    def _call(self, call: Callable[..., int], session: Any, *arguments: Any) -> None:
        try:
            code = call(self.at, session, *arguments)
        except (OverflowError, TypeError):
            self.refuse(NOT_OPEN, session)
        if code:
            self.refuse(code, session)

    def refuse(self, code: int, session: Any) -> NoReturn:
        """Raise the exception for a code that a native call returned for a session."""
        if code == IN_USE:
            raise StateError(
                f"session {session} is in use by another thread, or by the call that a signal handler has interrupted"
            )
        raise SessionError(f"session {session!r} is not open; the pool has {len(self)} open sessions")

    def banks(self, sessions: Array) -> Array:
        """Return a copy of the present banks of these open sessions, (n, bank) uint8."""
        copies = np.empty((len(sessions), self.bank), np.uint8)
        for copy, session in zip(copies, sessions.tolist(), strict=True):
            slot = self._slot_of(session)
            copy[:] = slot[slot[:_HEAD].view(np.int64)[SLOT.parity] * self.bank + _HEAD :][: self.bank]
        return copies

    def put_beside(self, sessions: Array, banks: Array) -> None:
        """Write `banks` into the other bank of each of these sessions, which a push holds."""
        for copy, session in zip(banks, sessions.tolist(), strict=True):
            slot = self._slot_of(session)
            slot[(1 - slot[:_HEAD].view(np.int64)[SLOT.parity]) * self.bank + _HEAD :][: self.bank] = copy

    def _slot_of(self, session: int) -> Array:
        place = session & ((1 << _PLACE_BITS) - 1)
        slot: Array = self._blocks[place >> self._shift][place & ((1 << self._shift) - 1)].view(np.uint8)
        return slot

    def _packed(self, state: Mapping[str, Array]) -> Array:
        bank = np.zeros(self.bank, np.uint8)
        for name, field in self.fields.items():
            field.into(bank[None], state[name])
        return bank

    def _grow(self) -> None:
        """Add a block of slots, unless another thread has added one meanwhile."""
        with _lock:
            slots, count = int(self.words[POOL.slots]), 1 << self._shift
            if self.words[POOL.used] < slots or self.words[POOL.free]:
                return
            if slots == self.capacity:
                raise SessionError(f"all {self.capacity} sessions are in use; close a session, or make a larger pool")
            block = zeros((count, self._slot // 8), np.int64)
            self._blocks.append(block)
            self._table[slots >> self._shift] = block.ctypes.data
            self.words[POOL.slots] = min(slots + count, self.capacity)
