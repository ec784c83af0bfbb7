"""Streams: frames in, frames out, the state kept inside.

The state lies in two sets of arrays that alternate: a push reads one and writes the other, so nothing is copied, a
network may read an old state after it has written the new one, and a push that ends early leaves the state as it was.
Arrays that come as the model takes them go straight from and into the caller's memory in a single native call; others
are converted before it, and their results copied after it. After the first push of a shape, a push allocates only what
it returns.

Whoever runs, reads or changes a stream does so in one native call, which claims it (`kernels.entries`): a second
thread, or a signal handler, is refused. A change of part of a state is a reading and a writing, and the writing is
refused if the state has changed in between.
"""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastgru.engine import Executable, Pieces
from fastgru.engine.executable import Route
from fastgru.engine.program import Frame, refuse_second_user
from fastgru.engine.threads import team_address
from fastgru.errors import ShapeError, StateError
from fastgru.kernels.operands.ticket import STATE
from fastgru.kernels.run import IN_USE, MISFIT, calls
from fastgru.model.batch import check_rows, find_batch_axes, given_axes
from fastgru.model.state_blob import pack_state, unpack_state
from fastgru.packing.aligned import zeros
from fastgru.process import lock, process
from fastgru.reference.operator import as_array

__all__ = ["Stream"]

Array = NDArray[Any]
Shapes = tuple[tuple[int, ...], ...]

_empty = np.empty


class _Fingerprinted(Protocol):
    @property
    def fingerprint(self) -> str: ...


class _Bound:
    """A program for frames of certain shapes, bound to the banks of a stream.

    frames, made: what a push brings and gets, (shape, dtype) of each array. call: as `Frame.call`, by a team where that
    pays.
    """

    def __init__(self, stream: Stream, route: Route, arrays: tuple[Array, ...]) -> None:
        self._gone = stream._executable.budget.gone
        program, (now, then) = route.program, stream._banks
        for name, output in stream._states.items():
            came, following = program.inputs[name].shape, program.outputs[output].shape
            if following != came:
                raise StateError(
                    f"state {name!r} has shape {came}, but its next value {output!r} has shape {following} for inputs"
                    f" of {dict(zip(stream.inputs, (a.shape for a in arrays), strict=True))}"
                )
        self.frame = Frame(
            program,
            stream._words,
            {name: (now[name], then[name]) for name in now},
            {output: (then[name], now[name]) for name, output in stream._states.items()},
        )
        self.call: Callable[[int, Any, Any], int] = self.frame.call
        self.ticket = self.frame.ticket
        self.shapes = tuple([a.shape for a in arrays])
        self.frames = [(slot.shape, np.dtype(slot.dtype)) for slot in map(program.inputs.__getitem__, stream.inputs)]
        self.made = [(slot.shape, np.dtype(slot.dtype)) for slot in map(program.outputs.__getitem__, stream.outputs)]
        self._route = route

    def choose_team(self, stream: Stream, arrays: tuple[Array, ...]) -> None:
        """Have a team run the program, if that pays with frames like these."""
        given = {
            **{name: np.zeros_like(a) for name, a in stream._banks[0].items()},
            **self.fitting(stream.inputs, arrays),
        }
        trial = partial(self._route.attempt, tuple([given[name] for name in self._route.inputs]))
        if self._route.sharing.team(trial):
            self.call = self._call_team

    @property
    def nbytes(self) -> int:
        return self.frame.nbytes + self.frame.program.nbytes

    def fitting(self, names: tuple[str, ...], arrays: tuple[Array, ...]) -> dict[str, Array]:
        """Frames by name, as the program takes them."""
        return {
            name: np.ascontiguousarray(array, dtype).reshape(shape).view(dtype)
            for name, array, (shape, dtype) in zip(names, arrays, self.frames, strict=True)
        }

    def _call_team(self, ticket: int, inputs: Any, outputs: Any) -> int:
        return self.frame.call_on(team_address(self._route.sharing.members), inputs, outputs)

    def __del__(self) -> None:
        self._gone.append(id(self))


class Stream:
    """Made by `Model.stream`. One thread at a time.

    inputs, outputs: names of what `push` takes and gives: the model's, less the states.
    """

    def __init__(
        self,
        executable: Executable | Pieces,
        batch_size: int,
        states: Mapping[str, str],
        model: _Fingerprinted,
        batch_axes: Mapping[str, int] | None = None,
    ) -> None:
        self._executable: Any = executable
        self._states, self._model = dict(states), model
        specs_in = {spec.name: spec for spec in executable.inputs}
        specs_out = {spec.name: spec for spec in executable.outputs}
        if not self._states:
            raise StateError(
                f"no state is known: none of the inputs {list(specs_in)} goes with an output {list(specs_out)} by name;"
                ' pass state={"input": "output"}'
            )
        for source, target in self._states.items():
            if source not in specs_in or target not in specs_out:
                raise StateError(
                    f"state {source!r} -> {target!r}: expected an input of {list(specs_in)} and an output of"
                    f" {list(specs_out)}"
                )
            if specs_in[source].dtype != specs_out[target].dtype:
                raise StateError(
                    f"state {source!r} is {specs_in[source].dtype}, but its next value {target!r} is"
                    f" {specs_out[target].dtype}"
                )
        if len(set(self._states.values())) != len(self._states):
            raise StateError(f"state {self._states}: two inputs share an output")
        if isinstance(batch_size, bool) or not isinstance(batch_size, int | np.integer) or batch_size < 1:
            raise ShapeError(f"batch_size is {batch_size!r}, expected an integer of at least 1")
        self.inputs = tuple(name for name in specs_in if name not in self._states)
        self.outputs = tuple(name for name in specs_out if name not in self._states.values())
        if not self.inputs:
            raise StateError("every input is a state: a stream needs something to push")
        banks = []
        for _ in range(2):
            bank = {}
            for name in self._states:
                spec = specs_in[name]
                if spec.shape is None:
                    raise StateError(f"state {name!r}: the model does not say its shape")
                bank[name] = zeros(tuple(batch_size if n is None else n for n in spec.shape), spec.dtype)
            banks.append(bank)
        self._axes = given_axes(batch_axes, {name: a.ndim for name, a in banks[0].items()})
        self._take((banks[0], banks[1]))

    def _take(self, banks: tuple[dict[str, Array], dict[str, Array]]) -> None:
        """Keep the state in these arrays from now on, the first set being the present one."""
        self._banks = banks
        each = [(a.ctypes.data, b.ctypes.data, a.nbytes) for a, b in zip(*(d.values() for d in banks), strict=True)]
        self._words = np.array([*[0] * STATE.words, *itertools.chain.from_iterable(each), 0], np.int64)
        self._bound: _Bound | None = None
        self._others: dict[Shapes, _Bound] = {}

    def push(self, *frames: ArrayLike, out: Array | tuple[Array, ...] | None = None) -> Any:
        """Run one frame, or a chunk of them, from the state that the push before left.

        frames: one array for each name of `self.inputs`, shaped as the model's inputs.
        out: an array (a tuple of them where there are several outputs) to be written into and returned; one may be a
        frame, too, two of them may not overlap.

        Returns an array, or a tuple where `self.outputs` has several names. Raises `ShapeError` for a frame that does
        not fit, `StateError` where another thread is using the stream; the state is then as it was.
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

    def _push(self, frames: tuple[ArrayLike, ...], out: Array | tuple[Array, ...] | None) -> Any:
        """Of any layout, float dtypes converted, and `out` lying anywhere."""
        arrays = tuple([as_array("push", f) for f in frames])
        bound = self._bind(arrays)
        targets = () if out is None else out if isinstance(out, tuple) else (out,)
        if out is not None:
            self._check_out(targets, bound)
        made = tuple([_empty(*each) for each in bound.made])
        if code := bound.call(bound.ticket, tuple(bound.fitting(self.inputs, arrays).values()), made):
            bound.frame.raise_for(code)
        for target, array in zip(targets, made, strict=False):
            target[...] = array
        return out if out is not None else made[0] if len(made) == 1 else made

    def _check_out(self, targets: tuple[Any, ...], bound: _Bound) -> None:
        came = [(t.dtype.name, t.shape) if isinstance(t, np.ndarray) else type(t).__name__ for t in targets]
        expected = [(dtype.name, shape) for shape, dtype in bound.made]
        if came != expected:
            raise ShapeError(f"out: got {came}, expected {expected}")
        if not all(t.flags.writeable for t in targets):
            raise ShapeError("out: got an array that cannot be written")
        if any(np.may_share_memory(a, b) for a, b in itertools.combinations(targets, 2)):
            raise ShapeError("out: two of the arrays overlap, expected arrays of their own")
        if any(n > 1 and stride == 0 for t in targets for n, stride in zip(t.shape, t.strides, strict=True)):
            raise ShapeError("out: got an array whose elements share memory, expected a place for each")

    def _bind(self, arrays: tuple[Array, ...]) -> _Bound:
        if len(arrays) != len(self.inputs):
            raise ShapeError(f"push: got {len(arrays)} arrays, expected {len(self.inputs)}: {', '.join(self.inputs)}")
        given = dict(zip(self.inputs, arrays, strict=True))
        self._executable.bind({**given, **self._banks[0]})
        key, last = tuple([a.shape for a in arrays]), self._bound
        if last is not None and last.shapes == key:
            return last
        with lock:
            bound = self._others.pop(key, None)
            if bound is None:
                shapes = {name: a.shape for name, a in {**given, **self._banks[0]}.items()}
                bound = _Bound(self, self._executable.route(shapes), arrays)
            budget, self._bound = self._executable.budget, bound
            budget.forget(id(bound))
            if last is not None:
                self._others[last.shapes] = last
                budget.add(id(last), last.nbytes, partial(_let_go, weakref.ref(self), last.shapes))
        if bound.frame.program.members > 1:
            bound.choose_team(self, arrays)
        return bound

    @property
    def state(self) -> dict[str, Array]:
        """A copy of the current state, by input name."""
        return self._read()[0]

    def _read(self) -> tuple[dict[str, Array], int]:
        """A copy of the state, and its version."""
        state = {name: _empty(a.shape, a.dtype) for name, a in self._banks[0].items()}
        version = calls().take(self._words.ctypes.data, process.ctypes.data, tuple(state.values()))
        if version == IN_USE:
            refuse_second_user()
        return state, version

    def _write(self, state: Mapping[str, Array], version: int = -1) -> None:
        """Replace the state, if it still has this version."""
        arrays = tuple([np.ascontiguousarray(state[name], a.dtype) for name, a in self._banks[0].items()])
        if calls().put(self._words.ctypes.data, process.ctypes.data, arrays, version) == IN_USE:
            refuse_second_user()

    def set_state(self, state: Mapping[str, ArrayLike]) -> None:
        """Replace the state by these arrays; names that are not given keep theirs.

        Raises `ShapeError` for an array that does not fit, `StateError` for a name that is no state.
        """
        if not isinstance(state, Mapping):
            raise StateError(f"state: got {type(state).__name__}, expected arrays by name: {list(self._states)}")
        now, version = self._read()
        arrays = {name: as_array(f"state {name!r}", a) for name, a in state.items()}
        for name, array in arrays.items():
            if name not in now:
                raise StateError(f"state {name!r} is unknown; expected some of {list(now)}")
            own = now[name]
            if array.shape != own.shape or not np.can_cast(array.dtype, own.dtype, "same_kind"):
                raise ShapeError(f"state {name!r}: got {array.dtype} {array.shape}, expected {own.dtype} {own.shape}")
            if own.dtype.kind in "iu" and not np.array_equal(array.astype(own.dtype), array):
                raise ShapeError(f"state {name!r}: got {array.dtype} values that {own.dtype} does not hold")
        self._write({**now, **arrays}, version)

    def reset(self, rows: ArrayLike | None = None) -> None:
        """Back to zeros: every row, or those of `rows` alone, counted from 0.

        The batch axis of a state is the one in `batch_axes`, else its only free axis, else that of a GRU's initial
        state. Raises `StateError` where none of these tells it, `ShapeError` for rows that are not there.
        """
        if rows is None:
            self._write({name: np.zeros_like(a) for name, a in self._banks[0].items()})
            return
        state, version = self._read()
        by_row = self._by_row(state)
        chosen = check_rows(rows, next(iter(by_row.values())).shape[0])
        for array in by_row.values():
            array[chosen] = 0
        self._write(state, version)

    def _by_row(self, bank: dict[str, Array]) -> dict[str, Array]:
        """Views of these states with the batch axis in front."""
        axes = find_batch_axes(self._executable.graph, bank, self._axes)
        if unknown := [name for name, axis in axes.items() if axis is None]:
            raise StateError(
                f"{', '.join(f'state {n!r} {bank[n].shape}' for n in unknown)}: which axis is the batch cannot be told;"
                f" make the stream with batch_axes={{{unknown[0]!r}: axis}}"
            )
        views = {name: np.moveaxis(a, axes[name] or 0, 0) for name, a in bank.items()}
        if len({a.shape[0] for a in views.values()}) > 1:
            came = ", ".join(f"{a.shape[0]} in {name!r} (axis {axes[name]})" for name, a in views.items())
            raise StateError(f"the states have different numbers of rows: {came}; give batch_axes=")
        return views

    def fork(self) -> Stream:
        """Another stream of the same model that goes on from the same state."""
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        state, _ = self._read()
        other._take((_copied(state), _copied(state)))
        return other

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError(
            "a Stream is neither copied nor pickled: fork() gives another that goes on from its state, and save_state()"
            " the state as bytes, for a stream of the same model in any process"
        )

    def save_state(self, row: int | None = None) -> bytes:
        """The state as bytes that `load_state` takes, in this process or another; carries the model's fingerprint.

        row: save this row alone, as a stream of one row would. Raises as `reset` does.
        """
        return pack_state(self._row_views(self.state, row), self._model.fingerprint)

    def load_state(self, blob: bytes, row: int | None = None) -> None:
        """Take up the state that `save_state` gave, into `row` alone where it was the state of one row.

        Raises `StateError` for a damaged blob, or one of another model, precision or batch size; the state is then as
        it was.
        """
        given = unpack_state(blob, self._model.fingerprint)
        state, version = self._read()
        views = self._row_views(state, row)
        wanted = {name: (a.dtype.name, a.shape) for name, a in views.items()}
        came = {name: (a.dtype.name, a.shape) for name, a in given.items()}
        if came != wanted:
            raise StateError(f"saved state: got {came}, expected {wanted}")
        for name, array in views.items():
            array[...] = given[name]
        self._write(state, version)

    def _row_views(self, state: dict[str, Array], row: int | None) -> dict[str, Array]:
        """The states, or what belongs to one row of them, the batch axis kept where it is."""
        if row is None:
            return state
        by_row = self._by_row(state)
        check_rows([row], next(iter(by_row.values())).shape[0])
        axes = find_batch_axes(self._executable.graph, state, self._axes)
        return {name: np.moveaxis(a[row : row + 1], 0, axes[name] or 0) for name, a in by_row.items()}


def _copied(state: Mapping[str, Array]) -> dict[str, Array]:
    copies = {name: zeros(a.shape, a.dtype) for name, a in state.items()}
    for name, copy in copies.items():
        copy[...] = state[name]
    return copies


def _let_go(stream: weakref.ref[Stream], shapes: Shapes) -> None:
    if (held := stream()) is not None:
        held._others.pop(shapes, None)
