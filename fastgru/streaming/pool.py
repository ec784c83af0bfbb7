"""Many sessions of one model, pushed together: a row takes less time in a batch than alone.

A push of rows is one native call. It gathers the states of its sessions, runs them block by block, scatters the new
states beside the old ones, and at the end switches all sessions to the new states at once. A push that ends early
therefore leaves every state as it was. A row's bits do not depend on its batch, so each session gets what a stream of
its own would return. The pool proves that on the first push of a shape, because a model may mix rows by design.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike

from fastgru.errors import ShapeError, StateError, UnsupportedModelError
from fastgru.graph import Array, shape_text
from fastgru.kernels.run import NOT_OPEN
from fastgru.kinds import way_round
from fastgru.reference.bodies import decides
from fastgru.reference.operator import as_array
from fastgru.streaming.batch import row_axes
from fastgru.streaming.named import in_order
from fastgru.streaming.plans import Plan, Plans
from fastgru.streaming.rows import with_rows
from fastgru.streaming.state_blob import pack_state, unpack_state
from fastgru.streaming.store import Single
from fastgru.streaming.stream import Stream, check_out

__all__ = ["SessionPool"]

Frame = ArrayLike | tuple[ArrayLike, ...] | Mapping[str, ArrayLike]

_ndarray = np.ndarray


class Streaming(Protocol):
    """An object that makes streams of a number of rows: a model or a layer."""

    def stream(self, *arguments: Any, **options: Any) -> Stream: ...


class SessionPool:
    """Up to `capacity` sessions of a model or layer that has a state. Several threads may use it at once.

    state: pairs {input: output} of a model. None means the pairs that it knows.
    batch_axes: {input: axis}, if the declared shapes do not tell on which axis the rows are. As an attribute, it has
        the axis of the rows of every input, states included, or only of the frames if the batch is fixed.
    inputs, outputs: the names of what a session pushes and gets, as in a `Stream`.

    Memory is taken as sessions are opened. A model with a fixed batch of 1 runs one session after another. Their frames
    and outputs then lie along the first axis that is declared to be of size 1, as if it were free, or along the one in
    `batch_axes`.

    Raises `StateError` if there is no state or an axis cannot be found, `UnsupportedModelError` if there is no axis for
    the sessions or states have no fixed size, and `ShapeError` if the capacity is not a valid number, or larger than
    memory holds.
    """

    def __init__(
        self,
        model: Streaming,
        capacity: int,
        *,
        state: Mapping[str, str] | None = None,
        batch_axes: Mapping[str, int] | None = None,
    ) -> None:
        if isinstance(capacity, bool) or not isinstance(capacity, int | np.integer) or capacity < 1:
            raise ShapeError(f"capacity is {capacity!r}, expected an integer of at least 1")
        if not callable(getattr(model, "stream", None)):
            way = ": fastgru.load reads files" if isinstance(model, str | bytes | PathLike) else way_round(model)
            raise StateError(f"SessionPool: got {type(model).__name__}, expected a model or a layer{way}")
        single = model.stream(1) if state is None else model.stream(1, state=state)  # checks the pairs
        self.inputs, self.outputs = single.inputs, single.outputs
        self._runnable, self.capacity = single.runnable, int(capacity)
        axes = row_axes(self._runnable, self.inputs, batch_axes, single.states)
        deciding = [str(node) for node in self._runnable.graph.nodes if decides(node)]
        if deciding and axes.outputs is None:
            raise UnsupportedModelError(
                f"{', '.join(deciding)} depends on all rows of a batch together, but here each row is another session;"
                " keep a stream for each session"
            )
        self.batch_axes, states = dict(axes.inputs), single.state_shapes
        dtypes = {spec.name: np.dtype(spec.dtype) for spec in self._runnable.inputs}
        self._single: Single = {}
        for name, sizes in states.items():
            axis = self.batch_axes.get(name)
            shape = sizes if axis is None else with_rows(sizes, axis, 1)
            if None in shape:
                raise UnsupportedModelError(
                    f"state {name!r} {shape_text(sizes)}: its free sizes follow only from the frames, but all sessions"
                    " of a pool have states of one size: keep a stream for each session, or fix the sizes in the file"
                )
            self._single[name] = tuple([n or 0 for n in shape]), dtypes[name], axis
        self._plans = Plans(self._runnable, single.states, axes, self._single, self.capacity)
        self._store = self._plans.store
        self._last: Plan | None = None

    def open(self, saved: bytes | None = None, *, any_target: bool = False) -> int:
        """Open a session, from where the model starts or from a saved state. Returns its number.

        saved: the result of `save`, or of `Stream.save_state` for one row.
        any_target: also accept a state from another target, see `Stream.load_state`.

        No other session ever gets the same number, even after this one is closed.

        Raises `SessionError` if the pool is full, and `StateError` for a saved state that does not fit.
        """
        return self._store.open(None if saved is None else self._unpack(saved, any_target))

    def fork(self, session: int) -> int:
        """Open a session that continues from the state of this one.

        Raises `SessionError` if this one is not open or the pool is full, and `StateError` if another call is using it.
        """
        return self._store.open(self._store.take(session))

    def close(self, session: int) -> None:
        """Close a session and free its place. Its number is not used again.

        Raises `SessionError` if it is not open, and `StateError` if another call is using it.
        """
        self._store.close(session)

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError("a SessionPool cannot be copied or pickled; save() returns the state of a session as bytes")

    @property
    def sessions(self) -> tuple[int, ...]:
        """The numbers of the open sessions, the oldest first."""
        return self._store.sessions

    def __repr__(self) -> str:
        frames, made = ", ".join(self.inputs), ", ".join(self.outputs)
        return f"SessionPool({frames} -> {made}, {len(self)} of {self.capacity} sessions open)"

    def __len__(self) -> int:
        return len(self._store)

    def push(self, frames: Mapping[int, Frame]) -> dict[int, Any]:
        """Run one frame, or one chunk, of each of these sessions. Returns the output of each session, by its number.

        A frame is what a `Stream` of one row takes: an array shaped as the model's input with a batch of 1, or a tuple
        or a mapping by name if `inputs` has several names. Frames of the same shapes run as one batch.

        Raises `SessionError` for a session that is not open, `StateError` for one that another call is using, and
        `ShapeError` for a frame that does not fit. All states then stay as they were.
        """
        if not isinstance(frames, Mapping):
            raise ShapeError(f"push: got {type(frames).__name__}, expected a mapping from sessions to frames")
        together: dict[Any, tuple[list[int], list[tuple[Array, ...]]]] = {}
        for session, frame in frames.items():
            if type(session) is not int and not isinstance(session, np.integer):
                self._store.refuse(NOT_OPEN, session)
            given: tuple[Any, ...] = frame if isinstance(frame, tuple) else (frame,)
            try:
                key = [(a.shape, a.dtype.char) for a in given]
            except AttributeError:
                given = self._plans.arrays(f"session {session}", self._in_order(f"session {session}", given))
                key = [(a.shape, a.dtype.char) for a in given]
            sessions, rows = together.setdefault(tuple(key), ([], []))
            sessions.append(session)
            rows.append(given)
        joined = [self._joined(sessions, rows) for sessions, rows in together.values()]
        made: dict[int, Any] = {}
        for (sessions, _), (plan, outputs) in zip(together.values(), self._push_all(joined), strict=True):
            each = [_rows_of(y, end.axis) for y, end in zip(outputs, plan.outputs, strict=True)]
            made.update(zip(sessions, each[0] if len(each) == 1 else zip(*each, strict=True), strict=True))
        return made if len(joined) == 1 else {session: made[session] for session in frames}

    def _push_all(self, joined: Sequence[tuple[Array, tuple[Array, ...]]]) -> list[tuple[Plan, tuple[Array, ...]]]:
        """Push these sessions and frames. Return the plan and the outputs of each group."""
        if len(joined) == 1:
            (sessions, arrays), plan = joined[0], self._plans.at_hand(joined[0][1])
            if plan is not None and (made := plan.push(sessions, arrays, None)) is not None:
                return [(plan, made if isinstance(made, tuple) else (made,))]
        groups = [self._plans.group(sessions, arrays) for sessions, arrays in joined]
        return [(plan, made) for (plan, _, _), made in zip(groups, self._plans.push(groups, list), strict=True)]

    def _joined(self, sessions: list[int], rows: list[tuple[Array, ...]]) -> tuple[Array, tuple[Array, ...]]:
        """Return sessions, and their frames, which all have the same shapes, as the rows of a batch."""
        for name, array in zip(self.inputs, self._plans.arrays(f"session {sessions[0]}", rows[0]), strict=True):
            axis = self.batch_axes[name]
            if array.shape[axis] != 1:
                raise ShapeError(f"session {sessions[0]}: {name} has shape {array.shape}, expected 1 on axis {axis}")
        columns = zip(self.inputs, zip(*rows, strict=True), strict=True)
        joined = tuple([np.concatenate(arrays, self.batch_axes[name]) for name, arrays in columns])
        try:
            numbers = np.array(sessions, np.int64)
        except OverflowError:
            self._store.refuse(NOT_OPEN, max(sessions, key=abs))
        return numbers, joined

    def push_rows(self, sessions: ArrayLike, frames: Frame, out: Array | tuple[Array, ...] | None = None) -> Any:
        """Run one frame, or one chunk, of each of these sessions, given as the rows of a batch.

        sessions: (n,) int64, the numbers of the sessions, each at most once.
        frames: an array shaped as the model's input, with the n sessions along its batch axis; a tuple of arrays, or a
            mapping by name, if `inputs` has several names.
        out: an array to write into and return, or a tuple of arrays if there are several outputs.

        Returns an array, or a tuple if `outputs` has several names, with the rows in the same order. Arrays in the
        model's dtype and layout go through one native call; others are converted first. Raises what `push` raises.
        """
        if type(sessions) is _ndarray:
            plan = self._last
            if plan is not None and (made := plan.push(sessions, frames, out)) is not None:
                return made
            plan = self._plans.at_hand(frames)
            if plan is not None and (made := plan.push(sessions, frames, out)) is not None:
                self._last = plan
                return made
        return self._push_rows(sessions, frames, out)

    def _push_rows(self, sessions: ArrayLike, frames: Frame, out: Array | tuple[Array, ...] | None) -> Any:
        """Push frames by name, of any layout and any float dtype, with `out` of any layout."""
        if isinstance(frames, Mapping):
            return self.push_rows(sessions, self._in_order("push_rows", (frames,)), out)
        numbers = self._numbers(sessions)
        arrays = self._plans.arrays("push_rows", frames if isinstance(frames, tuple) else (frames,))
        for name, array in zip(self.inputs, arrays, strict=True):
            axis = self.batch_axes[name]
            if array.shape[axis] != len(numbers):
                raise ShapeError(
                    f"push_rows: {name} has shape {array.shape}, expected {len(numbers)} on axis {axis}: a row for"
                    " each session"
                )
        group = self._plans.group(numbers, arrays)

        def finish(results: list[tuple[Array, ...]]) -> tuple[Array, ...]:
            if out is not None:
                targets = out if isinstance(out, tuple) else (out,)
                check_out(targets, [(y.shape, y.dtype) for y in results[0]])
                for target, y in zip(targets, results[0], strict=True):
                    target[...] = y
            return results[0]

        made = self._plans.push([group], finish)
        self._last = group[0]
        return out if out is not None else made[0] if len(made) == 1 else made

    def warm_up(self, *frames: ArrayLike | Mapping[str, ArrayLike]) -> None:
        """Prepare for frames of these shapes, so that their first push is not slower. No session changes.

        frames: one array for each name of `inputs`, with any number of rows, or one mapping by name.

        Raises `ShapeError` if a frame does not fit, and `UnsupportedModelError` if the rows of the model depend on one
        another.
        """
        self._last = self._plans.warm_up(self._in_order("warm_up", frames))

    def _in_order(self, what: str, frames: tuple[Any, ...]) -> tuple[Any, ...]:
        return in_order(what, self.inputs, frames, self._single)

    def save(self, session: int) -> bytes:
        """Return the state of a session as bytes, as `Stream.save_state` does for a stream of one row.

        Raises `SessionError` if it is not open, and `StateError` if another call is using it.
        """
        return pack_state(self._store.take(session), self._runnable.fingerprint)

    def load(self, session: int, saved: bytes, *, any_target: bool = False) -> None:
        """Replace the state of a session by one that `save`, or a stream of one row, has saved.

        any_target: also accept a state from another target, see `Stream.load_state`.

        Raises `SessionError` if the session is not open, and `StateError` if another call is using it or the saved
        state does not fit.
        """
        self._store.put(session, self._unpack(saved, any_target))

    def reset(self, session: int) -> None:
        """Set the state of a session back to the start of the model.

        Raises `SessionError` if it is not open, and `StateError` if another call is using it.
        """
        self._store.put(session, None)

    @property
    def layout(self) -> str:
        """A description of the bytes of `save_into`. Pools with the same description can load each other's bytes."""
        fields = [
            f"{name} {field.dtype.str} {field.shape(1)} at {field.at}" for name, field in self._store.fields.items()
        ]
        return f"bank of {self._store.bank}: {', '.join(fields)}"

    @property
    def state_bytes(self) -> int:
        """The number of bytes that `save_into` writes."""
        return self._store.bank

    def save_into(self, session: int, room: Array) -> int | bytes:
        """Copy the state of a session into `room` as it lies in memory, which is faster than `save`.

        room: (state_bytes,) uint8. Raises `ShapeError` for another array, `SessionError` if the session is not open,
            and `StateError` if another call is using it.

        Returns the number of bytes.
        """
        self._check_room(room)
        self._store.take_bank(session, room)
        return self._store.bank

    def load_from(self, session: int, kept: Array) -> None:
        """Load the bytes that `save_into` has written. Nothing checks that they are of this model and target."""
        self._check_room(kept)
        self._store.put_bank(session, kept)

    def _check_room(self, room: Array) -> None:
        if room.nbytes != self._store.bank or not room.flags.c_contiguous:
            raise ShapeError(f"state: got {room.dtype} {room.shape}, expected uint8 ({self._store.bank},)")

    def _unpack(self, saved: bytes, any_target: bool) -> dict[str, Array]:
        state = unpack_state(saved, self._runnable.fingerprint, any_target=any_target)
        came = {name: (a.dtype.name, a.shape) for name, a in state.items()}
        expected = {name: (dtype.name, shape) for name, (shape, dtype, _) in self._single.items()}
        if came != expected:
            raise StateError(f"saved state: got {came}, expected {expected}")
        return state

    def _numbers(self, sessions: ArrayLike) -> Array:
        """Return sessions as an array, (n,) int64."""
        array = as_array("sessions", sessions)
        if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
            raise ShapeError(f"sessions: got {array.dtype} {array.shape}, expected (n,) int64")
        return np.ascontiguousarray(array, np.int64)


def _rows_of(array: Array, axis: int) -> list[Array]:
    """Return copies of the rows of an array, each with `axis` kept at size 1."""
    return [row.copy() for row in array[None].swapaxes(0, axis + 1)]
