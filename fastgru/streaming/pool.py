"""Many sessions of one model, pushed together: a batch is as fast as a few rows of it, and no row touches another.

The states of all sessions lie in two banks, a row a session. A push gathers the rows of its sessions, runs them as one
batch, scatters the new states into the other bank, and then lets the rows change banks, all at once: a push that ends
early leaves every state as it was. A row's bits do not depend on its batch, so each session gets what a stream of its
own would give; the pool proves that on the first push of a shape, because a model may mix rows by design.
"""

import math
from collections.abc import Mapping
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import ArrayLike

from fastgru.errors import SessionError, ShapeError, StateError, UnsupportedModelError
from fastgru.graph import Array
from fastgru.modules import late
from fastgru.reference.bodies import decides
from fastgru.reference.operator import as_array
from fastgru.streaming.batch import free_batch_axes
from fastgru.streaming.claims import Claims
from fastgru.streaming.state_blob import pack_state, unpack_state
from fastgru.streaming.stream import Stream, check_out

__all__ = ["SessionPool"]

Frame = ArrayLike | tuple[ArrayLike, ...]
Shapes = tuple[tuple[int, ...], ...]

_EXACT_ROWS: Final = 8
_MAX_SHAPES: Final = 16
_SESSION_BYTES: Final = 64  # of a session besides its state
_GENERATION: Final = 32  # bits of a session's number below its generation
_ROW: Final = (1 << _GENERATION) - 1


def _rounded(rows: int) -> int:
    """The size of the batch that `rows` run in: at most an eighth more, so that few programs serve every number."""
    step = max(1, 1 << max(0, (rows - 1).bit_length() - 4)) if rows > _EXACT_ROWS else 1
    return -(-rows // step) * step


class Streaming(Protocol):
    """What makes a stream of so many rows: a model, or a layer."""

    def stream(self, *arguments: Any, **options: Any) -> Stream: ...


class SessionPool:
    """Up to `capacity` sessions of a model or layer that carries a state. Safe to call from several threads.

    state: {input: output} pairs of a model, None for those that it knows. batch_axes: {input: axis} where the declared
    shapes do not tell which axis the rows are on.

    inputs, outputs: names of what a session pushes and gets, as those of a `Stream`.

    Raises `StateError` where there is no state or an axis cannot be told, `UnsupportedModelError` where the batch is of
    a fixed size, `ShapeError` for a capacity that is no number of sessions, or more of them than memory holds.
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
        single = model.stream(1) if state is None else model.stream(1, state=state)  # checks the pairs
        self.inputs, self.outputs = single.inputs, single.outputs
        self._runnable, self._states, self.capacity = single.runnable, single.states, int(capacity)
        if deciding := [str(node) for node in self._runnable.graph.nodes if decides(node)]:
            raise UnsupportedModelError(
                f"{', '.join(deciding)} decides by what is in all rows of a batch together, of which each is another"
                " session here; keep a stream for each session"
            )
        self._axes = free_batch_axes(self._runnable, [*self._states, *self.inputs], batch_axes)
        dtypes = {spec.name: np.dtype(spec.dtype) for spec in self._runnable.inputs}
        self._single = {}
        for name, sizes in single.state_shapes.items():
            shape = tuple(1 if axis == self._axes[name] else n for axis, n in enumerate(sizes))
            if None in shape:
                raise UnsupportedModelError(
                    f"state {name!r} {shape}: only frames tell its free sizes, and sessions of a pool have states of"
                    " one size: keep a stream for each session, or fix the sizes in the file"
                )
            self._single[name] = tuple(n or 0 for n in shape), dtypes[name]
        self._allocate()
        self._output_axes: dict[Shapes, dict[str, int]] = {}
        self._rows: dict[int, int] = {}
        self._claims = Claims(self._rows)

    def _allocate(self) -> None:
        """The states in two banks, in which of them that of a row is, and the rows that are free."""
        shapes = {name: (2, self.capacity, *_without(s, self._axes[name])) for name, (s, _) in self._single.items()}
        each = sum(2 * math.prod(shape) * dtype.itemsize for shape, dtype in self._single.values()) + _SESSION_BYTES
        try:
            np.empty(self.capacity * each, np.uint8)  # as much as there will be in the end: memory is given out late
            self._store = {name: np.zeros(shapes[name], dtype) for name, (_, dtype) in self._single.items()}
            self._bank = np.zeros(self.capacity, np.intp)
            # Each is (generation, row): a row that comes again has a generation of its own, and so another number.
            self._free = [1 << _GENERATION | row for row in range(self.capacity)][::-1]
        except (MemoryError, OverflowError, ValueError):
            raise ShapeError(
                f"capacity is {self.capacity}, of sessions of {each} bytes: more than memory holds"
            ) from None

    def open(self, saved: bytes | None = None) -> int:
        """A new session, from zeros or from a saved state; the number by which it is called from now on.

        Raises `SessionError` where the pool is full, `StateError` for a saved state that does not fit.
        """
        state = None if saved is None else self._unpack(saved)
        return self._open(state)

    def _open(self, state: Mapping[str, Array] | None) -> int:
        try:
            session = self._free.pop()
        except IndexError:
            raise SessionError(f"all {self.capacity} sessions are taken; close one, or make a larger pool") from None
        try:
            self._put([session & _ROW], state)
            self._rows[session] = session & _ROW
        except BaseException:
            self._free.append(session)
            raise
        return session

    def fork(self, session: int) -> int:
        """A new session that goes on from the state of this one. Raises `SessionError`, `StateError`."""
        state = self._claims.alone([session], lambda rows: self._gather(np.array(rows)))
        return self._open(state)

    def close(self, session: int) -> None:
        """Give its place up. The number is not used again.

        Raises `SessionError` for one that is not open, `StateError` for one that another call is using.
        """
        after = session + (1 << _GENERATION)
        self._claims.alone([session], lambda rows: self._free.append(self._rows.pop(session) | after))
        self._claims.forget(session)

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError("a SessionPool is neither copied nor pickled: save() gives the state of a session as bytes")

    @property
    def sessions(self) -> tuple[int, ...]:
        """Those that are open, the oldest first."""
        return tuple(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def push(self, frames: Mapping[int, Frame]) -> dict[int, Any]:
        """One frame, or chunk, of each of these sessions; what each of them gets, by session.

        A frame is what a `Stream` of one row takes: an array shaped as the model's input with a batch of 1, or a tuple
        where `inputs` has several names. Frames of the same shapes run as one batch.

        Raises `SessionError` for a session that is not open, `StateError` for one that another call is using,
        `ShapeError` for a frame that does not fit; all states are then as they were.
        """
        if not isinstance(frames, Mapping):
            raise ShapeError(f"push: got {type(frames).__name__}, expected frames by session")
        if not frames:
            return {}
        arrays = {session: self._frame(session, frame) for session, frame in frames.items()}
        return self._claims.alone(list(arrays), lambda rows: self._push(arrays, rows))

    def _push(self, arrays: Mapping[int, tuple[Array, ...]], rows: list[int]) -> dict[int, Any]:
        groups: dict[Shapes, list[tuple[int, int]]] = {}
        for (session, given), row in zip(arrays.items(), rows, strict=True):
            groups.setdefault(tuple([a.shape for a in given]), []).append((session, row))
        each: dict[int, Any] = {}
        states = []
        for group in groups.values():
            joined = [
                np.concatenate(a, self._axes[n])
                for n, a in zip(self.inputs, zip(*[arrays[session] for session, _ in group], strict=True), strict=True)
            ]
            which = np.array([row for _, row in group])
            made, after = self._batch(which, tuple(joined))
            states.append((which, after))
            for i, (session, _) in enumerate(group):
                own = [_row_of(y, axis, i) for y, axis in made]
                each[session] = own[0] if len(own) == 1 else tuple(own)
        for which, after in states:
            self._change(which, after)
        return {session: each[session] for session in arrays}

    def push_rows(self, sessions: ArrayLike, frames: Frame, out: Array | tuple[Array, ...] | None = None) -> Any:
        """A frame, or chunk, of each of these sessions, as the rows of a batch; what they get, in the same order.

        sessions: (n,) numbers that `open` gave, each once. frames: an array shaped as the model's input with the n
        sessions along its batch axis, a tuple where `inputs` has several names. out: an array (a tuple of them where
        there are several outputs) to be written into and returned.

        Returns an array, or a tuple where `outputs` has several names. Raises as `push`.
        """
        handles = self._handles(sessions)
        given = frames if isinstance(frames, tuple) else (frames,)
        if len(given) != len(self.inputs):
            raise ShapeError(
                f"push_rows: got {len(given)} arrays, expected {len(self.inputs)}: {', '.join(self.inputs)}"
            )
        arrays = tuple(as_array(f"push_rows: {name}", a) for name, a in zip(self.inputs, given, strict=True))
        for name, array in zip(self.inputs, arrays, strict=True):
            axis = self._axes[name]
            if array.ndim <= axis or array.shape[axis] != len(handles):
                raise ShapeError(
                    f"push_rows: {name} has shape {array.shape}, expected {len(handles)} on axis {axis}: a row for"
                    " each session"
                )
        return self._claims.alone(handles, lambda rows: self._push_rows(np.array(rows, np.intp), arrays, out))

    def _push_rows(self, rows: Array, arrays: tuple[Array, ...], out: Array | tuple[Array, ...] | None) -> Any:
        made, after = self._batch(rows, arrays)
        results = tuple(y for y, _ in made)
        if out is not None:
            targets = out if isinstance(out, tuple) else (out,)
            check_out(targets, [(y.shape, y.dtype) for y in results])
            for target, y in zip(targets, results, strict=True):
                target[...] = y
        self._change(rows, after)
        return out if out is not None else results[0] if len(results) == 1 else results

    def _batch(self, rows: Array, arrays: tuple[Array, ...]) -> tuple[list[tuple[Array, int]], dict[str, Array]]:
        """(output, its batch axis) of these rows, and the states after it, the rows in front. Nothing moves."""
        n = len(rows)
        first = tuple(
            np.take(a, [0], self._axes[name]) if n else np.zeros([m or 1 for m in a.shape], a.dtype)
            for name, a in zip(self.inputs, arrays, strict=True)
        )
        shapes = tuple([a.shape for a in first])
        axes = self._output_axes.get(shapes)
        if axes is None:
            axes = self._prove(shapes, first, rows[:1])
        # Rows beyond the sessions' own repeat the last one, whose values are sure to be in range.
        order = np.minimum(np.arange(_rounded(max(n, 1))), n - 1) if n else np.zeros(1, np.intp)
        if n:
            feeds = {name: np.take(a, order, self._axes[name]) for name, a in zip(self.inputs, arrays, strict=True)}
        else:
            feeds = dict(zip(self.inputs, first, strict=True))
        results = self._runnable.run({**feeds, **self._gather(rows[order] if n else order)})
        made = [
            (
                np.ascontiguousarray(np.moveaxis(np.moveaxis(results[name], axes[name], 0)[:n], 0, axes[name])),
                axes[name],
            )
            for name in self.outputs
        ]
        return made, {name: np.moveaxis(results[o], self._axes[name], 0)[:n] for name, o in self._states.items()}

    def warm_up(self, *frames: ArrayLike) -> None:
        """Plan, and make ready, what a push of such frames runs. No state moves.

        frames: one array for each name of `inputs`, of any number of rows. Raises `ShapeError` for what does not fit,
        `UnsupportedModelError` where the rows of the model depend on one another.
        """
        if len(frames) != len(self.inputs):
            raise ShapeError(
                f"warm_up: got {len(frames)} arrays, expected {len(self.inputs)}: {', '.join(self.inputs)}"
            )
        arrays = tuple(as_array(f"warm_up: {name}", a) for name, a in zip(self.inputs, frames, strict=True))
        first = []
        for name, array in zip(self.inputs, arrays, strict=True):
            axis = self._axes[name]
            if array.ndim <= axis or array.shape[axis] < 1:
                raise ShapeError(f"warm_up: {name} has shape {array.shape}, expected rows on axis {axis}")
            first.append(np.take(array, [0], axis))
        shapes = tuple([a.shape for a in first])
        if shapes not in self._output_axes:
            self._prove(shapes, tuple(first), np.zeros(0, np.intp))

    def _handles(self, sessions: ArrayLike) -> list[int]:
        array = np.asarray(sessions)
        if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
            raise ShapeError(f"sessions: got {array.dtype} {array.shape}, expected (n,) int64")
        handles = [int(h) for h in array.tolist()]
        if len(set(handles)) != len(handles):
            twice = next(h for i, h in enumerate(handles) if h in handles[:i])
            raise ShapeError(f"sessions: {twice} comes twice, expected each once in a push")
        return handles

    def save(self, session: int) -> bytes:
        """Its state as bytes, the same as `Stream.save_state` gives for a stream of one row."""
        state = self._claims.alone([session], lambda rows: self._gather(np.array(rows)))
        return pack_state(state, self._runnable.fingerprint)

    def load(self, session: int, saved: bytes) -> None:
        """Take up what `save`, or a stream of one row, has saved. Raises `SessionError`, `StateError`."""
        state = self._unpack(saved)
        self._claims.alone([session], lambda rows: self._put(rows, state))

    def reset(self, session: int) -> None:
        """Back to zeros. Raises `SessionError`, `StateError`."""
        self._claims.alone([session], lambda rows: self._put(rows, None))

    def _gather(self, rows: Array) -> dict[str, Array]:
        """The states of these rows, as the model takes them."""
        banks = self._bank[rows]
        return {
            name: np.ascontiguousarray(np.moveaxis(a[banks, rows], 0, self._axes[name]))
            for name, a in self._store.items()
        }

    def _change(self, rows: Array, states: Mapping[str, Array]) -> None:
        """Give these rows new states, the rows being in front: all of them, in one step that nothing interrupts."""
        others = 1 - self._bank[rows]
        for name, array in states.items():
            self._store[name][others, rows] = array
        self._bank[rows] = others

    def _put(self, rows: list[int], state: Mapping[str, Array] | None) -> None:
        zeros = {name: np.zeros(shape, dtype) for name, (shape, dtype) in self._single.items()}
        given = zeros if state is None else state
        self._change(np.array(rows), {name: np.moveaxis(a, self._axes[name], 0) for name, a in given.items()})

    def _unpack(self, saved: bytes) -> dict[str, Array]:
        state = unpack_state(saved, self._runnable.fingerprint)
        came = {name: (a.dtype.name, a.shape) for name, a in state.items()}
        expected = {name: (dtype.name, shape) for name, (shape, dtype) in self._single.items()}
        if came != expected:
            raise StateError(f"saved state: got {came}, expected {expected}")
        return state

    def _frame(self, session: int, frame: Frame) -> tuple[Array, ...]:
        given = frame if isinstance(frame, tuple) else (frame,)
        if len(given) != len(self.inputs):
            raise ShapeError(
                f"session {session}: got {len(given)} arrays, expected {len(self.inputs)}: {', '.join(self.inputs)}"
            )
        arrays = tuple(as_array(f"session {session}: {n}", a) for n, a in zip(self.inputs, given, strict=True))
        for name, array in zip(self.inputs, arrays, strict=True):
            axis = self._axes[name]
            if array.ndim <= axis or array.shape[axis] != 1:
                raise ShapeError(f"session {session}: {name} has shape {array.shape}, expected 1 on axis {axis}")
        return arrays

    def _run(self, frames: list[tuple[Array, ...]], rows: Array) -> dict[str, Array]:
        """From the states of these rows; from zeros where there is none."""
        feeds = {
            name: np.concatenate([frame[i] for frame in frames], self._axes[name]) for i, name in enumerate(self.inputs)
        }
        if len(rows):
            return self._runnable.run({**feeds, **self._gather(rows)})
        zeros = {
            name: np.zeros([len(frames) if i == self._axes[name] else n for i, n in enumerate(shape)], dtype)
            for name, (shape, dtype) in self._single.items()
        }
        return self._runnable.run({**feeds, **zeros})

    def _prove(self, shapes: Shapes, frame: tuple[Array, ...], row: Array) -> dict[str, int]:
        """The batch axis of each output; refuses a model whose rows depend on one another.

        A frame goes through alone and on both sides of another one, and has to have the same bits.
        """
        rng = late("numpy.random").default_rng(0)
        other = tuple(rng.standard_normal(a.shape).astype(a.dtype) if a.dtype.kind == "f" else a for a in frame)
        alone = self._run([frame], row)
        beside = self._run([frame, other, frame], np.repeat(row, 3))
        axes = {}
        for name, one in alone.items():
            three = beside[name]
            grown = [i for i, (m, n) in enumerate(zip(one.shape, three.shape, strict=False)) if m != n]
            fits = one.ndim == three.ndim and len(grown) == 1 and (one.shape[grown[0]], three.shape[grown[0]]) == (1, 3)
            if not fits or any(
                _row_of(three, grown[0], i).tobytes() != np.ascontiguousarray(one).tobytes() for i in (0, 2)
            ):
                raise UnsupportedModelError(
                    f"output {name!r}: a row of a batch of 3 ({three.shape}) is not what the row alone gives"
                    f" ({one.shape}): the rows of this model depend on one another; keep a stream for each session"
                )
            axes[name] = grown[0]
        while len(self._output_axes) >= _MAX_SHAPES:
            self._output_axes.pop(next(iter(self._output_axes)))
        self._output_axes[shapes] = axes
        return axes


def _without(shape: tuple[int, ...], axis: int) -> tuple[int, ...]:
    return (*shape[:axis], *shape[axis + 1 :])


def _row_of(array: Array, axis: int, row: int) -> Array:
    """A copy, the axis kept with size 1."""
    return np.take(array, [row], axis)
