"""Streams: frames in, frames out, the state kept inside.

The state lies in two sets of arrays that take turns: a push reads one and writes the other, so nothing is copied and
a network may read an old state after it has written the new one. Arrays that come as the model takes them go straight
from and into the caller's memory in a single native call; others through arrays of the stream's own, bound once a
shape. After the first push of a shape, a push allocates only what it returns.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastgru.engine import Executable, Pieces
from fastgru.engine.program import Frame
from fastgru.errors import ShapeError, StateError
from fastgru.kernels.run import pusher
from fastgru.model.batch import check_rows, find_batch_axes, given_axes
from fastgru.model.state_blob import pack_state, unpack_state
from fastgru.packing.aligned import zeros
from fastgru.reference.operator import as_array
from fastgru.simd.ndarray import WRITEABLE, expectation

__all__ = ["Stream"]

Array = NDArray[Any]

_empty = np.empty


class _Fingerprinted(Protocol):
    @property
    def fingerprint(self) -> str: ...


class _Bound:
    """Everything of one input shape: a frame for each turn of the state, and arrays for inputs and outputs."""

    def __init__(self, stream: Stream, shapes: dict[str, tuple[int, ...]]) -> None:
        executable, states = stream._executable, stream._states
        program = executable.program({**shapes, **{name: a.shape for name, a in stream._banks[0].items()}})
        for name, output in states.items():
            if program.outputs[output].shape != program.inputs[name].shape:
                raise StateError(
                    f"state {name!r} has shape {program.inputs[name].shape}, but its next value {output!r} has"
                    f" shape {program.outputs[output].shape} for inputs of {shapes}"
                )
        self.inputs = {name: zeros(shape, program.inputs[name].dtype) for name, shape in shapes.items()}
        self.outputs = {
            name: zeros(program.outputs[name].shape, program.outputs[name].dtype) for name in stream.outputs
        }
        self.frames = (Frame(program, walk=0), Frame(program, walk=1))
        for turn, frame in enumerate(self.frames):
            before, after = stream._banks[turn], stream._banks[1 - turn]
            where = {**self.inputs, **before}
            for name, slot in program.inputs.items():
                frame.bases[slot.base] = where[name].ctypes.data
            where = {**self.outputs, **{output: after[name] for name, output in states.items()}}
            for name, slot in program.outputs.items():
                frame.bases[slot.base] = where[name].ctypes.data
        self.own_addresses = [
            *((program.inputs[name].base, a.ctypes.data) for name, a in self.inputs.items()),
            *((program.outputs[name].base, a.ctypes.data) for name, a in self.outputs.items()),
        ]
        self.xs = tuple(self.inputs.values())
        self.ys = tuple(self.outputs.values())
        self.made = tuple((y.shape, y.dtype) for y in self.ys)
        self.direct: Any = None
        if not self.frames[stream._turn].shared and all(a.size for a in (*self.xs, *self.ys)):
            self._make_direct(stream)

    def _make_direct(self, stream: Stream) -> None:
        """The native push: no copy and no allocation on either side."""
        program = self.frames[0].program
        ends = [
            *((program.inputs[name].base, expectation(a, 0), a.nbytes) for name, a in self.inputs.items()),
            *((program.outputs[name].base, expectation(a, WRITEABLE), a.nbytes) for name, a in self.outputs.items()),
        ]
        self._expected = [words for _, words, _ in ends]
        ticket = [
            stream._turns.ctypes.data,
            *(frame.bases.ctypes.data for frame in self.frames),
            program.words.ctypes.data,
            id(tuple),
            len(self.xs),
            len(self.ys),
            *(word for base, words, nbytes in ends for word in (base, words.ctypes.data, nbytes)),
        ]
        self._ticket = np.array(ticket, np.int64)
        self.ticket_at = int(self._ticket.ctypes.data)
        self.direct = pusher()


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
        self._banks = tuple(banks)
        self._axes = given_axes(batch_axes, {name: a.ndim for name, a in banks[0].items()})
        self._turns = np.zeros(1, np.int64)
        self._bound: _Bound | None = None
        self._others: dict[tuple[tuple[int, ...], ...], _Bound] = {}

    def push(self, *frames: ArrayLike, out: Array | tuple[Array, ...] | None = None) -> Any:
        """Run one frame, or a chunk of them, from the state that the push before left.

        frames: one array for each name of `self.inputs`, shaped as the model's inputs.
        out: an array (a tuple of them where there are several outputs) to be written into and returned; one may be a
        frame, too, two of them may not overlap.

        Returns an array, or a tuple where `self.outputs` has several names. Raises `ShapeError` for a frame that does
        not fit; the state is then as it was.
        """
        bound = self._bound
        if bound is not None and bound.direct is not None:
            given: Any = out
            if out is None:
                made = bound.made
                given = _empty(*made[0]) if len(made) == 1 else tuple([_empty(*each) for each in made])
            code = bound.direct(bound.ticket_at, frames, given)
            if code == 0:
                return given
            if code > 0:
                bound.frames[self._turn].fail()
        return self._push(frames, out)

    def _push(self, frames: tuple[ArrayLike, ...], out: Array | tuple[Array, ...] | None) -> Any:
        """Through arrays of the stream's own: any number of inputs and outputs, any layout, float dtypes converted."""
        arrays = [f if type(f) is np.ndarray else as_array("push", f) for f in frames]
        bound = self._bound
        if (
            bound is None
            or len(arrays) != len(bound.xs)
            or any(own.shape != a.shape or own.dtype != a.dtype for own, a in zip(bound.xs, arrays, strict=True))
        ):
            bound = self._bind(arrays)
        targets = None
        if out is not None:
            targets = out if isinstance(out, tuple) else (out,)
            self._check_out(targets, bound)
        for own, array in zip(bound.xs, arrays, strict=True):
            own[...] = array
        frame = bound.frames[self._turn]
        # A direct push leaves the addresses of the caller's arrays behind, which may be gone by now.
        for base, address in bound.own_addresses:
            frame.bases[base] = address
        frame.run_shared()
        self._turns[0] = 1 - self._turn
        if targets is None:
            return bound.ys[0].copy() if len(bound.ys) == 1 else tuple([y.copy() for y in bound.ys])
        for target, y in zip(targets, bound.ys, strict=True):
            target[...] = y
        return out

    @property
    def _turn(self) -> int:
        return int(self._turns[0])

    def _check_out(self, targets: tuple[Array, ...], bound: _Bound) -> None:
        came = [(t.dtype.name, t.shape) if isinstance(t, np.ndarray) else type(t).__name__ for t in targets]
        expected = [(y.dtype.name, y.shape) for y in bound.ys]
        if came != expected:
            raise ShapeError(f"out: got {came}, expected {expected}")
        if not all(t.flags.writeable for t in targets):
            raise ShapeError("out: got an array that cannot be written")
        if any(np.may_share_memory(a, b) for a, b in itertools.combinations(targets, 2)):
            raise ShapeError("out: two of the arrays overlap, expected arrays of their own")

    def _bind(self, arrays: list[Array]) -> _Bound:
        if len(arrays) != len(self.inputs):
            raise ShapeError(f"push: got {len(arrays)} arrays, expected {len(self.inputs)}: {', '.join(self.inputs)}")
        given = dict(zip(self.inputs, arrays, strict=True))
        self._executable.bind({**given, **self._banks[0]})
        key = tuple(a.shape for a in arrays)
        bound = self._others.get(key)
        if bound is None:
            bound = _Bound(self, {name: a.shape for name, a in given.items()})
            while len(self._others) >= 16:
                self._others.pop(next(iter(self._others)))
            self._others[key] = bound
        self._bound = bound
        return bound

    @property
    def state(self) -> dict[str, Array]:
        """A copy of the current state, by input name."""
        return {name: a.copy() for name, a in self._banks[self._turn].items()}

    def set_state(self, state: Mapping[str, ArrayLike]) -> None:
        """Replace the state by these arrays; names that are not given keep theirs. Raises `ShapeError`."""
        bank = self._banks[self._turn]
        arrays = {name: as_array(f"state {name!r}", a) for name, a in state.items()}
        for name, array in arrays.items():
            if name not in bank:
                raise StateError(f"state {name!r} is unknown; expected some of {list(bank)}")
            own = bank[name]
            if array.shape != own.shape or not np.can_cast(array.dtype, own.dtype, "same_kind"):
                raise ShapeError(f"state {name!r}: got {array.dtype} {array.shape}, expected {own.dtype} {own.shape}")
        for name, array in arrays.items():
            bank[name][...] = array

    def reset(self, rows: ArrayLike | None = None) -> None:
        """Back to zeros: every row, or those of `rows` alone, counted from 0.

        The batch axis of a state is the one in `batch_axes`, else its only free axis, else that of a GRU's initial
        state. Raises `StateError` where none of these tells it, `ShapeError` for rows that are not there.
        """
        if rows is None:
            for array in self._banks[self._turn].values():
                array[...] = 0
            return
        by_row = self._by_row()
        chosen = check_rows(rows, next(iter(by_row.values())).shape[0])
        for array in by_row.values():
            array[chosen] = 0

    def _by_row(self) -> dict[str, Array]:
        """Views of the states with the batch axis in front."""
        bank = self._banks[self._turn]
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
        other._banks = tuple({name: _copied(a) for name, a in bank.items()} for bank in self._banks)
        other._turns = self._turns.copy()
        other._bound, other._others = None, {}
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
        state = self.state if row is None else self._row_state(row)
        return pack_state(state, self._model.fingerprint)

    def load_state(self, blob: bytes, row: int | None = None) -> None:
        """Take up the state that `save_state` gave, into `row` alone where it was the state of one row.

        Raises `StateError` for a damaged blob, or one of another model, precision or batch size; the state is then as
        it was.
        """
        state = unpack_state(blob, self._model.fingerprint)
        expected = self._banks[self._turn] if row is None else self._row_state(row)
        wanted = {name: (a.dtype.name, a.shape) for name, a in expected.items()}
        came = {name: (a.dtype.name, a.shape) for name, a in state.items()}
        if came != wanted:
            raise StateError(f"saved state: got {came}, expected {wanted}")
        for name, array in self._row_views(row).items():
            array[...] = state[name]

    def _row_views(self, row: int | None) -> dict[str, Array]:
        """The states, or what belongs to one row of them, the batch axis kept where it is."""
        bank = self._banks[self._turn]
        if row is None:
            return bank
        by_row = self._by_row()
        check_rows([row], next(iter(by_row.values())).shape[0])
        axes = find_batch_axes(self._executable.graph, bank, self._axes)
        return {name: np.moveaxis(a[row : row + 1], 0, axes[name] or 0) for name, a in by_row.items()}

    def _row_state(self, row: int) -> dict[str, Array]:
        return {name: a.copy() for name, a in self._row_views(row).items()}


def _copied(array: Array) -> Array:
    copy = zeros(array.shape, array.dtype)
    copy[...] = array
    return copy
