"""Many sessions of one model, pushed together: a batch is as fast as a few rows of it, and no row touches another.

A push of rows is one native call: it gathers the states of its sessions, runs them block by block, scatters the new
states beside the old ones, and at the end has all sessions go on to them at once, so that a push that ends early leaves
every state as it was. A row's bits do not depend on its batch, so each session gets what a stream of its own would
give; the pool proves that on the first push of a shape, because a model may mix rows by design.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final, Protocol, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from fastgru.errors import ShapeError, StateError, UnsupportedModelError
from fastgru.graph import Array
from fastgru.kernels.run import MISFIT, NO_ROOM, NOT_OPEN
from fastgru.process import lock
from fastgru.reference import bind_inputs
from fastgru.reference.bodies import decides
from fastgru.reference.operator import as_array
from fastgru.streaming.batch import free_batch_axes
from fastgru.streaming.proof import prove, rehearse
from fastgru.streaming.rows import RowsPlan, Shapes, with_rows
from fastgru.streaming.rows_run import RowsRun
from fastgru.streaming.state_blob import pack_state, unpack_state
from fastgru.streaming.store import Store
from fastgru.streaming.stream import Stream, check_out

__all__ = ["SessionPool"]

Frame = ArrayLike | tuple[ArrayLike, ...]
Group = tuple[RowsPlan | RowsRun, Array, tuple[Array, ...]]  # what runs, sessions, frames
_Result = TypeVar("_Result")

_NOT_RUN: Final = (MISFIT, NO_ROOM)

_ndarray = np.ndarray


class Streaming(Protocol):
    """What makes a stream of so many rows: a model, or a layer."""

    def stream(self, *arguments: Any, **options: Any) -> Stream: ...


class SessionPool:
    """Up to `capacity` sessions of a model or layer that carries a state. Safe to call from several threads.

    state: {input: output} pairs of a model, None for those that it knows. batch_axes: {input: axis} where the declared
    shapes do not tell which axis the rows are on. Memory for sessions is taken as they are opened.

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
        specs = {spec.name: spec for spec in self._runnable.inputs}
        self._specs = [specs[name] for name in self.inputs]
        self._dtypes = [np.dtype(spec.dtype) for spec in self._specs]
        self._single = {}
        for name, sizes in single.state_shapes.items():
            shape = with_rows(tuple([n or 0 for n in sizes]), self._axes[name], 1)
            if None in (*sizes[: self._axes[name]], *sizes[self._axes[name] + 1 :]):
                raise UnsupportedModelError(
                    f"state {name!r} {sizes}: only frames tell its free sizes, and sessions of a pool have states of"
                    " one size: keep a stream for each session, or fix the sizes in the file"
                )
            self._single[name] = shape, np.dtype(specs[name].dtype), self._axes[name]
        self._store = Store(self._single, self.capacity)
        self._plans: dict[Shapes, RowsPlan | RowsRun] = {}
        self._last: RowsPlan | RowsRun | None = None

    def open(self, saved: bytes | None = None) -> int:
        """A new session, from zeros or from a saved state; the number by which it is called from now on.

        No other session ever has it: when its place is given to another, that has a number of its own.

        Raises `SessionError` where the pool is full, `StateError` for a saved state that does not fit.
        """
        return self._store.open(None if saved is None else self._unpack(saved))

    def fork(self, session: int) -> int:
        """A new session that goes on from the state of this one.

        Raises `SessionError` for one that is not open or where the pool is full, `StateError` for one that another call
        is using.
        """
        return self._store.open(self._store.take(session))

    def close(self, session: int) -> None:
        """Give its place up. The number is not used again.

        Raises `SessionError` for one that is not open, `StateError` for one that another call is using.
        """
        self._store.close(session)

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError("a SessionPool is neither copied nor pickled: save() gives the state of a session as bytes")

    @property
    def sessions(self) -> tuple[int, ...]:
        """Those that are open, the oldest first."""
        return self._store.sessions

    def __len__(self) -> int:
        return len(self._store)

    def push(self, frames: Mapping[int, Frame]) -> dict[int, Any]:
        """One frame, or chunk, of each of these sessions; what each of them gets, by session.

        A frame is what a `Stream` of one row takes: an array shaped as the model's input with a batch of 1, or a tuple
        where `inputs` has several names. Those of the same shapes run as one batch.

        Raises `SessionError` for a session that is not open, `StateError` for one that another call is using,
        `ShapeError` for a frame that does not fit; all states are then as they were.
        """
        if not isinstance(frames, Mapping):
            raise ShapeError(f"push: got {type(frames).__name__}, expected frames by session")
        together: dict[Shapes, tuple[list[int], list[tuple[Array, ...]]]] = {}
        for session, frame in frames.items():
            if not isinstance(session, int | np.integer) or not 0 <= session < 1 << 63:
                self._store.refuse(NOT_OPEN, session)
            arrays = self._frame(session, frame)
            sessions, rows = together.setdefault(tuple([a.shape for a in arrays]), ([], []))
            sessions.append(session)
            rows.append(arrays)
        axes = [self._axes[name] for name in self.inputs]
        groups = []
        for sessions, rows in together.values():
            joined = [np.concatenate(each, axis) for each, axis in zip(zip(*rows, strict=True), axes, strict=True)]
            groups.append(self._group(self._numbers(sessions), tuple(joined)))
        results = self._run(groups, tuple)
        made: dict[int, Any] = {}
        for (plan, _, _), (sessions, _), outputs in zip(groups, together.values(), results, strict=True):
            ahead = [(slice(None),) * end.axis for end in plan.outputs]
            for i, session in enumerate(sessions):
                own = [y[(*each, slice(i, i + 1))].copy() for y, each in zip(outputs, ahead, strict=True)]
                made[session] = own[0] if len(own) == 1 else tuple(own)
        return {session: made[session] for session in frames}

    def push_rows(self, sessions: ArrayLike, frames: Frame, out: Array | tuple[Array, ...] | None = None) -> Any:
        """A frame, or chunk, of each of these sessions, as the rows of a batch; what they get, in the same order.

        sessions: (n,) int64, numbers that `open` gave, each once. frames: an array shaped as the model's input with the
        n sessions along its batch axis, a tuple of them where `inputs` has several names. out: an array (a tuple of
        them where there are several outputs) to be written into and returned.

        Returns an array, or a tuple where `outputs` has several names. Arrays as the model takes them go through one
        native call; others are converted. Raises as `push`.
        """
        plan = self._last
        if plan is not None and type(sessions) is _ndarray:
            try:
                frame = plan.idle.pop()
            except IndexError:
                return self._push_rows(sessions, frames, out)
            given = plan.make(sessions.size) if out is None else out
            code = frame.push(frame.ticket, 0, sessions, frames, given)
            try:
                if code and code not in _NOT_RUN:
                    frame.raise_for(code, sessions)
            finally:
                plan.give_back(frame)
            if code == 0:
                return given
        return self._push_rows(sessions, frames, out)

    def _push_rows(self, sessions: ArrayLike, frames: Frame, out: Array | tuple[Array, ...] | None) -> Any:
        """Of any layout, float dtypes converted, and `out` lying anywhere."""
        numbers = self._numbers(sessions)
        arrays = self._arrays("push_rows", frames if isinstance(frames, tuple) else (frames,))
        for name, array in zip(self.inputs, arrays, strict=True):
            axis = self._axes[name]
            if array.shape[axis] != len(numbers):
                raise ShapeError(
                    f"push_rows: {name} has shape {array.shape}, expected {len(numbers)} on axis {axis}: a row for"
                    " each session"
                )
        group = self._group(numbers, arrays)

        def finish(results: list[tuple[Array, ...]]) -> tuple[Array, ...]:
            if out is not None:
                targets = out if isinstance(out, tuple) else (out,)
                check_out(targets, [(y.shape, y.dtype) for y in results[0]])
                for target, y in zip(targets, results[0], strict=True):
                    target[...] = y
            return results[0]

        made = self._run([group], finish)
        self._last = group[0]
        return out if out is not None else made[0] if len(made) == 1 else made

    def _run(self, groups: Sequence[Group], finish: Callable[[list[tuple[Array, ...]]], _Result]) -> _Result:
        """Push them all, or none; what `finish` makes of their outputs, which may still refuse."""
        settle, held, moves = self._store.settle, 0, 0
        frames, results = [], []
        try:
            for plan, sessions, arrays in groups:
                frames.append(plan.frame())
                held = frames[-1].chain_to(held)
                results.append(plan.run(frames[-1], sessions, arrays))
            made = finish(results)
            moves = 1
        finally:
            settle(held, moves)  # nothing comes between a call of a native function and its end
        for (plan, _, _), frame in zip(groups, frames, strict=True):
            plan.give_back(frame)
        return made

    def warm_up(self, *frames: ArrayLike) -> None:
        """Plan, bind and run once, on sessions of nobody, what a push of such frames runs. No state moves.

        frames: one array for each name of `inputs`, of any number of rows. Raises `ShapeError` for what does not fit,
        `UnsupportedModelError` where the rows of the model depend on one another.
        """
        arrays = self._arrays("warm_up", frames)
        plan, _, bound = self._group(np.zeros(0, np.int64), arrays)
        first = self._first_rows(bound)
        sizes = sorted(plan.programs) if isinstance(plan, RowsPlan) else [1]
        store = Store(self._single, max(sizes))
        for rows in sizes:
            rehearse(plan, store, [first] * rows)
        self._last = plan

    def save(self, session: int) -> bytes:
        """Its state as bytes, the same as `Stream.save_state` gives for a stream of one row."""
        return pack_state(self._store.take(session), self._runnable.fingerprint)

    def load(self, session: int, saved: bytes) -> None:
        """Take up what `save`, or a stream of one row, has saved. Raises `SessionError`, `StateError`."""
        self._store.put(session, self._unpack(saved))

    def reset(self, session: int) -> None:
        """Back to zeros. Raises `SessionError`, `StateError`."""
        self._store.put(session, None)

    def _unpack(self, saved: bytes) -> dict[str, Array]:
        state = unpack_state(saved, self._runnable.fingerprint)
        came = {name: (a.dtype.name, a.shape) for name, a in state.items()}
        expected = {name: (dtype.name, shape) for name, (shape, dtype, _) in self._single.items()}
        if came != expected:
            raise StateError(f"saved state: got {came}, expected {expected}")
        return state

    def _numbers(self, sessions: ArrayLike) -> Array:
        """Sessions as an array of int64."""
        array = as_array("sessions", sessions)
        if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
            raise ShapeError(f"sessions: got {array.dtype} {array.shape}, expected (n,) int64")
        return np.ascontiguousarray(array, np.int64)

    def _arrays(self, what: str, frames: tuple[ArrayLike, ...]) -> tuple[Array, ...]:
        """Frames of several rows as arrays that have an axis for them."""
        if len(frames) != len(self.inputs):
            raise ShapeError(f"{what}: got {len(frames)} arrays, expected {len(self.inputs)}: {', '.join(self.inputs)}")
        arrays = tuple([as_array(f"{what}: {name}", a) for name, a in zip(self.inputs, frames, strict=True)])
        for name, array in zip(self.inputs, arrays, strict=True):
            if array.ndim <= self._axes[name]:
                raise ShapeError(f"{what}: {name} has shape {array.shape}, expected rows on axis {self._axes[name]}")
        return arrays

    def _frame(self, session: int, frame: Frame) -> tuple[Array, ...]:
        """Those of one session as arrays of one row."""
        arrays = self._arrays(f"session {session}", frame if isinstance(frame, tuple) else (frame,))
        for name, array in zip(self.inputs, arrays, strict=True):
            axis = self._axes[name]
            if array.shape[axis] != 1:
                raise ShapeError(f"session {session}: {name} has shape {array.shape}, expected 1 on axis {axis}")
        return arrays

    def _first_rows(self, arrays: tuple[Array, ...]) -> tuple[Array, ...]:
        """The first row of each, of zeros where there is none."""
        return tuple(
            [
                np.take(a, [0], axis) if a.shape[axis] else np.zeros(with_rows(a.shape, axis, 1), a.dtype)
                for a, axis in zip(arrays, map(self._axes.__getitem__, self.inputs), strict=True)
            ]
        )

    def _group(self, sessions: Array, arrays: tuple[Array, ...]) -> Group:
        """What runs these frames, and the frames as it takes them. Raises `ShapeError` where they do not fit."""
        bound = bind_inputs(self._specs, dict(zip(self.inputs, arrays, strict=True)))
        fitted = tuple(
            [
                np.ascontiguousarray(a, dtype).reshape(a.shape).view(dtype)
                for a, dtype in zip(bound.values(), self._dtypes, strict=True)
            ]
        )
        shapes = tuple([with_rows(a.shape, self._axes[n], 1) for n, a in zip(self.inputs, fitted, strict=True)])
        plan = self._plans.get(shapes)
        return plan or self._make_plan(shapes, self._first_rows(fitted)), sessions, fitted

    def _make_plan(self, shapes: Shapes, first: tuple[Array, ...]) -> RowsPlan | RowsRun:
        """first: frames of one row, for the proof."""
        runnable, plan = self._runnable, None
        states = {name: shape for name, (shape, _, _) in self._single.items()}
        own = dict(zip(self.inputs, shapes, strict=True))
        made: RowsPlan | RowsRun
        if runnable.planned({**own, **states}) is None:
            made = RowsRun(runnable, self._store, self._states, self._axes, first)
        else:
            made = plan = RowsPlan(runnable, self._store, self._states, self._axes, shapes)
        if self.capacity > 1:
            prove(made, Store(self._single, 2), first)
        if plan is not None:
            plan.choose_teams(first)
        with lock:
            self._plans[shapes] = made
            runnable.budget.add(id(made), made.nbytes, partial(self._plans.pop, shapes, None))
        return made
