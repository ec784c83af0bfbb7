"""Streams: push frames in, get frames out; the stream keeps the state.

The state lies in two sets of arrays (`banks`) that alternate: a push reads one and writes the other. So nothing is
copied, a network may read an old state after it has written the new one, and a push that ends early leaves the state as
it was. If arrays have the dtypes and layout that the model takes, a single native call reads and writes the caller's
memory. Others are converted before the call, and their results are copied after it. After the first push of a shape, a
push allocates only what it returns.

If no single program can do the work, a push is a run of the model, and the stream passes the state on to the next run.
"""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from fastgru.engine import Runnable
from fastgru.engine.program import refuse_second_user
from fastgru.errors import ShapeError, StateError
from fastgru.graph import Array, shape_text
from fastgru.kernels.run import MISFIT
from fastgru.process import lock
from fastgru.reference.operator import as_array
from fastgru.streaming.banks import Banks, state_shapes
from fastgru.streaming.batch import check_rows, find_batch_axes, given_axes
from fastgru.streaming.binding import Binding
from fastgru.streaming.misfit import misfit_with_state
from fastgru.streaming.named import in_order
from fastgru.streaming.sizes import bind_sizes
from fastgru.streaming.state_blob import pack_state, unpack_state

__all__ = ["Stream", "check_out"]

Shapes = tuple[tuple[int, ...], ...]

_empty = np.empty


class Stream:
    """A stream of frames through a model or a layer, made by `Model.stream` or `Layer.stream`.

    Only one thread may use a stream at a time.

    runnable: the program that a push runs.
    states: pairs {input: output}.
    batch_size: the number of rows of a state, if its shape leaves it free.
    batch_axes: {input: axis} for the states whose rows you want to reset or save one by one. Other free sizes of a
        state are fixed by the first push, or by `set_state`.
    inputs, outputs: the names of what `push` takes and returns. These are the inputs and outputs of `runnable` without
        the states.
    state_shapes: the shapes of the states, by input. None stands for a size that is not known yet.

    Raises `StateError` if there is no state, or if a pair does not fit, and `ShapeError` if the batch has no valid
    size.
    """

    def __init__(
        self,
        runnable: Runnable,
        states: Mapping[str, str],
        batch_size: int = 1,
        batch_axes: Mapping[str, int] | None = None,
    ) -> None:
        self.state_shapes = state_shapes(runnable, states, batch_size, batch_axes)
        self.runnable, self.states = runnable, dict(states)
        self._batch_size = batch_size
        self.inputs = tuple(spec.name for spec in runnable.inputs if spec.name not in self.states)
        names = dict.fromkeys(spec.name for spec in runnable.outputs)  # a graph may list an output twice
        self.outputs = tuple(name for name in names if name not in self.states.values())
        self._axes = given_axes(batch_axes, {name: len(shape) for name, shape in self.state_shapes.items()})
        self._dtypes = {spec.name: spec.dtype for spec in runnable.inputs if spec.name in self.states}
        self._first: dict[str, Array] = {}  # what `set_state` gave before all sizes were known
        self._take({} if self._is_open else self._start(self.state_shapes))

    def _start(self, shapes: Mapping[str, tuple[int | None, ...]]) -> dict[str, Array]:
        start = self.runnable.graph.start
        return {name: start(name, [n or 0 for n in shape], self._dtypes[name]) for name, shape in shapes.items()}

    def _take(self, state: Mapping[str, Array]) -> None:
        """Continue from this state, with no program bound."""
        self._banks = Banks(state)
        self._bound: Binding | None = None
        self._others: dict[Shapes, Binding] = {}

    @property
    def _is_open(self) -> bool:
        return any(None in shape for shape in self.state_shapes.values())

    def _bind_sizes(self, frames: Mapping[str, Array]) -> Callable[[], None] | None:
        """Give the states the sizes that follow from these frames. Return an undo function, None if none is free."""
        shapes, first = self.state_shapes, self._first
        if not self._is_open:
            return None
        self._settle(bind_sizes(self.runnable, self.states, shapes, frames, self._batch_size))
        banks = self._banks
        _, version = banks.read()

        def undo() -> None:
            if self._banks is banks and banks.read()[1] == version:
                self.state_shapes, self._first = shapes, first
                self._take({})

        return undo

    def _settle(self, shapes: Mapping[str, tuple[int | None, ...]]) -> None:
        """Give states these sizes. Raises `StateError` if another thread has done so."""
        with lock:
            if not self._is_open:
                refuse_second_user()
            self.state_shapes = {**self.state_shapes, **shapes}
            if not self._is_open:
                self._take({**self._start(self.state_shapes), **self._first})
                self._first = {}

    def _check_settled(self) -> None:
        for name, shape in self.state_shapes.items():
            if None in shape:
                raise StateError(
                    f"state {name!r} {shape_text(shape)}: its free sizes are not known before the first push or"
                    " set_state"
                )

    def push(self, *frames: ArrayLike | Mapping[str, ArrayLike], out: Array | tuple[Array, ...] | None = None) -> Any:
        """Run one frame, or a chunk of frames, from the state that the last push left.

        frames: one array for each name of `inputs`, shaped as the model's inputs, or one mapping from these names to
            arrays.
        out: an array to write into and return, or a tuple of arrays if there are several outputs. One may also be a
            frame, but two of them must not overlap.

        Returns an array, or a tuple if `outputs` has several names. Raises `ShapeError` for a frame that does not fit,
        and `StateError` if another thread is using the stream. The state then stays as it was.
        """
        bound = self._bound
        if bound is not None:
            given: Any = out
            if out is None:
                made = bound.made
                given = _empty(*made[0]) if len(made) == 1 else tuple([_empty(*each) for each in made])
            code = bound.call(bound.ticket, frames, given)
            if code == 0:
                return given
            if code != MISFIT:
                bound.frame.raise_for(code)
        return self._push(frames, out)

    def _push(self, frames: tuple[Any, ...], out: Array | tuple[Array, ...] | None = None, what: str = "push") -> Any:
        """Push frames by name, of any layout and any float dtype, with `out` of any layout.

        what: the name of the call in messages.
        """
        if len(frames) == 1 and isinstance(frames[0], Mapping):
            return self.push(*in_order("push", self.inputs, frames, self.states), out=out)
        arrays = tuple([as_array(what, f) for f in frames])
        if len(arrays) != len(self.inputs):
            raise ShapeError(f"{what}: got {len(arrays)} arrays, expected {len(self.inputs)}: {', '.join(self.inputs)}")
        targets = None if out is None else out if isinstance(out, tuple) else (out,)
        undo = self._bind_sizes(dict(zip(self.inputs, arrays, strict=True)))
        try:
            made = self._pushed(arrays, targets)
        except BaseException:
            if undo is not None:
                undo()
            raise
        return out if out is not None else made[0] if len(made) == 1 else made

    def _pushed(self, arrays: tuple[Array, ...], targets: tuple[Array, ...] | None) -> tuple[Array, ...]:
        bound = self._bind_fitting(arrays)
        if bound is None:
            made = self._carry(arrays, targets)
        else:
            if targets is not None:
                check_out(targets, bound.made)
            made = tuple([_empty(*each) for each in bound.made])
            if code := bound.call(bound.ticket, bound.fitting(arrays), made):
                bound.frame.raise_for(code)
            _copy(made, targets or ())
        return made

    def _carry(self, arrays: tuple[Array, ...], targets: tuple[Array, ...] | None) -> tuple[Array, ...]:
        """Run the model on these frames, for which there is no single program, and keep the new state."""
        before, version = self._banks.read()
        results = self.runnable.run({**dict(zip(self.inputs, arrays, strict=True)), **before})
        after = {name: results[output] for name, output in self.states.items()}
        for name, output in self.states.items():
            came, state = after[name], before[name]
            if came.shape != state.shape or came.dtype != state.dtype:
                raise StateError(
                    f"state {name!r} is {state.dtype} {state.shape}, but its next value {output!r} came as"
                    f" {came.dtype} {came.shape}"
                )
        made = tuple([results[name] for name in self.outputs])
        if targets is not None:
            check_out(targets, [(a.shape, a.dtype) for a in made])
            _copy(made, targets)
        self._banks.write(after, version)
        return made

    def _bind_fitting(self, arrays: tuple[Array, ...]) -> Binding | None:
        """Do what `_bind` does. If frames and state do not fit together, the `ShapeError` names a frame."""
        try:
            return self._bind(arrays)
        except ShapeError as error:
            frames, state = dict(zip(self.inputs, arrays, strict=True)), self._banks.arrays[0]
            raise misfit_with_state(self.runnable, self.states, self._axes, state, frames) or error from None

    def _bind(self, arrays: tuple[Array, ...]) -> Binding | None:
        """Bind a program for frames of these shapes. Return None if no single program runs them."""
        given = {**dict(zip(self.inputs, arrays, strict=True)), **self._banks.arrays[0]}
        self.runnable.bind(given)
        key, last = tuple([a.shape for a in arrays]), self._bound
        if last is not None and last.shapes == key:
            return last
        with lock:
            bound = self._others.pop(key, None)
            if bound is None:
                route = self.runnable.route({name: a.shape for name, a in given.items()})
                if route is None:
                    return None
                bound = Binding(route, self._banks, self.states, self.runnable.budget)
            budget, self._bound = self.runnable.budget, bound
            budget.forget(id(bound))
            if last is not None:
                self._others[last.shapes] = last
                budget.add(id(last), last.nbytes, partial(_let_go, weakref.ref(self), last.shapes))
        if bound.frame.program.members > 1:
            bound.choose_team(arrays)
        return bound

    def warm_up(self, *frames: ArrayLike | Mapping[str, ArrayLike]) -> None:
        """Prepare for frames of these shapes, so that their first push is not slower. The state does not change.

        frames: as for `push`. Raises what `push` raises.
        """
        ordered = in_order("warm_up", self.inputs, frames, self.states)
        self.fork()._push(ordered, what="warm_up")  # a fork shares all but the memory of the state
        if not self._is_open:
            self._bind(tuple([as_array("warm_up", f) for f in ordered]))

    @property
    def state(self) -> dict[str, Array]:
        """A copy of the present state, by input name. Raises `StateError` if a size of it is not known yet."""
        self._check_settled()
        return self._banks.read()[0]

    def set_state(self, state: Mapping[str, ArrayLike]) -> None:
        """Replace the state by these arrays. States that you do not name keep their values.

        Raises `ShapeError` for an array that does not fit, and `StateError` for a name that is not a state.
        """
        if not isinstance(state, Mapping):
            raise StateError(f"state: got {type(state).__name__}, expected arrays by name: {list(self.states)}")
        now, version = self._banks.read()
        arrays = {name: as_array(f"state {name!r}", a) for name, a in state.items()}
        for name, array in arrays.items():
            if name not in self.states:
                raise StateError(f"state {name!r} is unknown; expected one of {list(self.states)}")
            own, dtype = self.state_shapes[name], np.dtype(self._dtypes[name])
            if not _matches(array.shape, own) or not np.can_cast(array.dtype, dtype, "same_kind"):
                raise ShapeError(f"state {name!r}: got {array.dtype} {array.shape}, expected {dtype} {shape_text(own)}")
            if dtype.kind in "iu" and not np.array_equal(array.astype(dtype), array):
                raise ShapeError(f"state {name!r}: got {array.dtype} values that do not fit {dtype}")
        if self._is_open:
            self._first |= {name: array.astype(self._dtypes[name]) for name, array in arrays.items()}
            self._settle({name: array.shape for name, array in arrays.items()})
        else:
            self._banks.write({**now, **arrays}, version)

    def reset(self, rows: ArrayLike | None = None) -> None:
        """Set the state back to its start, for all rows, or only for the rows with these numbers, from 0.

        The batch axis of a state is the one in `batch_axes`, or its only free axis, or that of a GRU's initial state.
        Raises `StateError` if none of these applies, and `ShapeError` for rows that do not exist.
        """
        if rows is None:
            self._first = self._start({name: a.shape for name, a in self._first.items()})
            self._banks.write(self._start({name: a.shape for name, a in self._banks.arrays[0].items()}))
            return
        self._batch_axes()
        self._check_settled()
        state, version = self._banks.read()
        by_row, start = self._by_row(state), self._by_row(self._start({name: a.shape for name, a in state.items()}))
        chosen = check_rows(rows, next(iter(by_row.values())).shape[0])
        for name, array in by_row.items():
            array[chosen] = start[name][chosen]
        self._banks.write(state, version)

    def _batch_axes(self) -> dict[str, int]:
        """Return the batch axis of every state. Raises `StateError` if one cannot be found."""
        axes = find_batch_axes(self.runnable.graph, self.states, self._axes)
        if unknown := [name for name, axis in axes.items() if axis is None]:
            states = ", ".join(f"state {name!r} {shape_text(self.state_shapes[name])}" for name in unknown)
            raise StateError(
                f"{states}: the batch axis is not known; make the stream with batch_axes={{{unknown[0]!r}: axis}}"
            )
        return {name: axis for name, axis in axes.items() if axis is not None}

    def _by_row(self, bank: dict[str, Array]) -> dict[str, Array]:
        """Return views of these states with the batch axis in front."""
        axes = self._batch_axes()
        views = {name: np.moveaxis(a, axes[name], 0) for name, a in bank.items()}
        if len({a.shape[0] for a in views.values()}) > 1:
            came = ", ".join(f"{a.shape[0]} in {name!r} (axis {axes[name]})" for name, a in views.items())
            raise StateError(f"the states have different numbers of rows: {came}; name the right axes with batch_axes=")
        return views

    def fork(self) -> Self:
        """Make another stream of the same model that continues from the same state."""
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        other._first = dict(self._first)
        other._take(self._banks.read()[0])
        return other

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError(
            "a Stream cannot be copied or pickled; fork() returns another stream with the same state, and save_state()"
            " returns the state as bytes for a stream of the same model in any process"
        )

    def save_state(self, row: int | None = None) -> bytes:
        """Return the state as bytes for `load_state`, in this process or in another.

        The bytes contain the fingerprint of the model, and the name of the target that this process runs.

        row: save only this row, as a stream of one row would. Raises what `reset` raises.
        """
        return pack_state(self._row_views(self.state, row), self.runnable.fingerprint)

    def load_state(self, blob: bytes, row: int | None = None, *, any_target: bool = False) -> None:
        """Continue from a state that `save_state` returned. With `row`, load the state of one row into that row.

        any_target: also accept a state from another target. The outputs may then differ from those of one stream by
            rounding.

        The precision of the weights is not part of a state: a stream in int8 can load a state saved in float32.

        Raises `StateError` if the bytes are damaged, or belong to another model, dtype, batch size or target. The state
        then stays as it was.
        """
        given = unpack_state(blob, self.runnable.fingerprint, any_target=any_target)
        if self._is_open and row is None:
            came = {name: (a.dtype.name, a.shape) for name, a in given.items()}
            fit = all(n in given and _matches(given[n].shape, shape) for n, shape in self.state_shapes.items())
            if not fit or {name: a.dtype.name for name, a in given.items()} != self._dtypes:
                expected = ", ".join(
                    f"{name!r} {self._dtypes[name]} {shape_text(shape)}" for name, shape in self.state_shapes.items()
                )
                raise StateError(f"saved state: got {came}, expected {expected}")
            self._settle({name: given[name].shape for name in self.states})
        self._check_settled()
        state, version = self._banks.read()
        views = self._row_views(state, row)
        wanted = {name: (a.dtype.name, a.shape) for name, a in views.items()}
        came = {name: (a.dtype.name, a.shape) for name, a in given.items()}
        if came != wanted:
            raise StateError(f"saved state: got {came}, expected {wanted}")
        for name, array in views.items():
            array[...] = given[name]
        self._banks.write(state, version)

    def _row_views(self, state: dict[str, Array], row: int | None) -> dict[str, Array]:
        """Return the states, or views of one row of them with the batch axis kept at size 1."""
        if row is None:
            return state
        by_row = self._by_row(state)
        check_rows([row], next(iter(by_row.values())).shape[0])
        axes = self._batch_axes()
        return {name: np.moveaxis(a[row : row + 1], 0, axes[name]) for name, a in by_row.items()}


def _matches(shape: tuple[int, ...], own: tuple[int | None, ...]) -> bool:
    return len(shape) == len(own) and all(n in (None, m) for m, n in zip(shape, own, strict=True))


def _copy(made: Iterable[Array], targets: Iterable[Array]) -> None:
    for target, array in zip(targets, made, strict=False):
        target[...] = array


def check_out(targets: tuple[Any, ...], made: Iterable[tuple[tuple[int, ...], np.dtype[Any]]]) -> None:
    """Check that results of these shapes and dtypes can be written into the targets. Raises `ShapeError`."""
    if len(targets) == 1 and isinstance(targets[0], dict):
        raise ShapeError("out: got a dict, expected an array, or a tuple of arrays in the order of the outputs")
    came = [(t.dtype.name, t.shape) if isinstance(t, np.ndarray) else type(t).__name__ for t in targets]
    expected = [(dtype.name, shape) for shape, dtype in made]
    if came != expected:
        raise ShapeError(f"out: got {came}, expected {expected}")
    if not all(t.flags.writeable for t in targets):
        raise ShapeError("out: got a read-only array, expected a writable one")
    if any(np.may_share_memory(a, b) for a, b in itertools.combinations(targets, 2)):
        raise ShapeError("out: two of the arrays overlap, expected separate arrays")
    if any(n > 1 and stride == 0 for t in targets for n, stride in zip(t.shape, t.strides, strict=True)):
        raise ShapeError("out: got an array whose elements share memory, expected separate elements")


def _let_go(stream: weakref.ref[Stream], shapes: Shapes) -> None:
    if (held := stream()) is not None:
        held._others.pop(shapes, None)
