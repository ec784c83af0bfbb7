"""The memory of a state: two sets of arrays, of which a push reads one and writes the other.

Whoever runs on a state, reads it or changes it does so in one native call, which claims it (`kernels.entries`): a
second thread, or a signal handler, is refused. A change of part of a state is a reading and a writing, and the writing
is refused if the state has changed in between.
"""

from collections.abc import Mapping
from typing import SupportsIndex

import numpy as np

from fastgru.engine import Runnable
from fastgru.engine.program import refuse_second_user
from fastgru.errors import ShapeError, StateError
from fastgru.graph import Array, inlined
from fastgru.kernels.operands.ticket import STATE
from fastgru.kernels.run import IN_USE, calls
from fastgru.packing.aligned import zeros
from fastgru.process import process
from fastgru.spec import RECURRENT
from fastgru.streaming.batch import find_batch_axes, given_axes

__all__ = ["Banks", "state_shapes"]


class Banks:
    """A state that begins with these values. arrays: its two sets. words: what native code claims it by."""

    def __init__(self, state: Mapping[str, Array]) -> None:
        self.arrays = tuple({name: zeros(a.shape, a.dtype) for name, a in state.items()} for _ in range(2))
        for name, array in self.arrays[0].items():
            array[...] = state[name]
        each = zip(*(bank.values() for bank in self.arrays), strict=True)
        addresses = [word for a, b in each for word in (a.ctypes.data, b.ctypes.data, a.nbytes)]  # as `BANKS` says
        self.words = np.array([*[0] * STATE.words, *addresses, 0], np.int64)

    def read(self) -> tuple[dict[str, Array], int]:
        """A copy of the state, and its version. Raises `StateError` where it is in use."""
        state = {name: np.empty(a.shape, a.dtype) for name, a in self.arrays[0].items()}
        version = calls().take(self.words.ctypes.data, process.ctypes.data, tuple(state.values()))
        if version == IN_USE:
            refuse_second_user()
        return state, version

    def write(self, state: Mapping[str, Array], version: int = -1) -> None:
        """Replace the state, if it still has this version. Raises `StateError` where not, or where it is in use."""
        arrays = tuple([np.ascontiguousarray(state[name], a.dtype) for name, a in self.arrays[0].items()])
        if calls().put(self.words.ctypes.data, process.ctypes.data, arrays, version) == IN_USE:
            refuse_second_user()


def state_shapes(
    runnable: Runnable, states: Mapping[str, str], batch_size: int, batch_axes: Mapping[str, SupportsIndex] | None
) -> dict[str, tuple[int | None, ...]]:
    """The shape of each input that is a state, None for sizes that the first push binds. states: {input: output}.

    The only free axis of a state is its batch, and so is the one that `find_batch_axes` tells.

    Raises `StateError` where there is none, or a pair does not fit, `ShapeError` for a batch of no size.
    """
    if not isinstance(states, Mapping):
        raise StateError(f"state: got {type(states).__name__}, expected a mapping of inputs to outputs")
    inputs = {spec.name: spec for spec in runnable.inputs}
    outputs = {spec.name: spec for spec in runnable.outputs}
    if not states:
        raise StateError(_no_state(runnable))
    for source, target in states.items():
        if source not in inputs or target not in outputs:
            raise StateError(
                f"state {source!r} -> {target!r}: expected an input of {list(inputs)} and an output of {list(outputs)}"
            )
        if inputs[source].dtype != outputs[target].dtype:
            raise StateError(
                f"state {source!r} is {inputs[source].dtype}, but its next value {target!r} is {outputs[target].dtype}"
            )
    if len(set(states.values())) != len(states):
        raise StateError(f"state {dict(states)}: two inputs share an output")
    if isinstance(batch_size, bool) or not isinstance(batch_size, int | np.integer) or batch_size < 1:
        raise ShapeError(f"batch_size is {batch_size!r}, expected an integer of at least 1")
    if len(states) == len(inputs):
        raise StateError("every input is a state, and a stream needs an input for its frames")
    if unknown := [name for name in states if inputs[name].shape is None]:
        raise StateError(f"state {unknown[0]!r}: its shape is not in the model")
    given = given_axes(batch_axes, {name: len(inputs[name].shape or ()) for name in states})
    axes = find_batch_axes(runnable.graph, states, given)
    shapes = {}
    for name in states:
        shape = enumerate(inputs[name].shape or ())
        shapes[name] = tuple(batch_size if n is None and axis == axes[name] else n for axis, n in shape)
    return shapes


def _no_state(runnable: Runnable) -> str:
    """What to do where names tell no state."""
    inputs, outputs = runnable.inputs, runnable.outputs
    told = [
        f"{spec.name!r} -> {' or '.join(repr(name) for name in names)}"
        for spec in inputs
        if (names := [o.name for o in outputs if spec.agrees(o)]) and len(inputs) > 1
    ]
    inside = any(node.op in (*RECURRENT, "loop") for node in inlined(runnable.graph.nodes))
    way = "if its states begin inside the file, load the model with open_states=True, or " if inside else ""
    fit = f"; by dtype and shape there could be {', '.join(told)}" if told else ""
    return (
        f"no state is known: no name of an input {[s.name for s in inputs]} matches one of an output"
        f' {[s.name for s in outputs]}; {way}pass state={{"input": "output"}}{fit}'
    )
