"""The memory of a state: two sets of arrays. A push reads one set and writes the other.

Every run on a state, and every read or change of it, is one native call that claims the state (`kernels.entries`): a
second thread, or a signal handler, is refused. To change part of a state is to read it and then to write it. The write
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
    """A state that begins with these values. arrays: its two sets. words: what native code needs to claim it."""

    def __init__(self, state: Mapping[str, Array]) -> None:
        self.arrays = tuple({name: zeros(a.shape, a.dtype) for name, a in state.items()} for _ in range(2))
        for name, array in self.arrays[0].items():
            array[...] = state[name]
        each = zip(*(bank.values() for bank in self.arrays), strict=True)
        addresses = [word for a, b in each for word in (a.ctypes.data, b.ctypes.data, a.nbytes)]  # as `BANKS` says
        self.words = np.array([*[0] * STATE.words, *addresses, 0], np.int64)

    def read(self) -> tuple[dict[str, Array], int]:
        """Return a copy of the state, and its version. Raises `StateError` if the state is in use."""
        state = {name: np.empty(a.shape, a.dtype) for name, a in self.arrays[0].items()}
        version = calls().take(self.words.ctypes.data, process.ctypes.data, tuple(state.values()))
        if version == IN_USE:
            refuse_second_user()
        return state, version

    def write(self, state: Mapping[str, Array], version: int = -1) -> None:
        """Replace the state if it still has this version (-1: any). Raises `StateError` if not, or if it is in use."""
        arrays = tuple([np.ascontiguousarray(state[name], a.dtype) for name, a in self.arrays[0].items()])
        if calls().put(self.words.ctypes.data, process.ctypes.data, arrays, version) == IN_USE:
            refuse_second_user()


def state_shapes(
    runnable: Runnable, states: Mapping[str, str], batch_size: int, batch_axes: Mapping[str, SupportsIndex] | None
) -> dict[str, tuple[int | None, ...]]:
    """Return the shape of each input that is a state, None for sizes that the first push binds.

    states: {input: output}. The batch axis is the one that `find_batch_axes` finds, such as the only free axis.

    Raises `StateError` if there is no state, or a pair does not fit, and `ShapeError` for an invalid batch size.
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
    """Return the message for a model in which no pair of names shows a state, with ways to name one."""
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
