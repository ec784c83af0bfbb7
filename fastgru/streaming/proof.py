"""Find out whether the rows of a model depend on one another, by a trial on sessions that nobody uses."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from fastgru.errors import UnsupportedModelError
from fastgru.graph import Array
from fastgru.modules import late
from fastgru.streaming.push_frame import End, PushFrame
from fastgru.streaming.store import Store

__all__ = ["Plan", "prove", "rehearse"]


class Plan(Protocol):
    """A plan that pushes frames of certain shapes."""

    @property
    def inputs(self) -> Sequence[End]: ...

    @property
    def outputs(self) -> Sequence[End]: ...

    def frame(self) -> PushFrame: ...

    def give_back(self, frame: PushFrame) -> None: ...

    def run(self, frame: PushFrame, sessions: Array, frames: tuple[Array, ...]) -> tuple[Array, ...]: ...


def rehearse(plan: Plan, store: Store, rows: Sequence[tuple[Array, ...]], pushes: int = 1) -> list[dict[str, bytes]]:
    """Push each of `rows` `pushes` times in a new session of `store`, side by side, and close the sessions.

    Returns, for each session, the bytes of its outputs and of its last state, by name.
    """
    sessions = np.array([store.open() for _ in rows], np.int64)
    joined = [
        np.ascontiguousarray(np.concatenate(arrays, end.axis), end.dtype)
        for end, arrays in zip(plan.inputs, zip(*rows, strict=True), strict=True)
    ]
    found: list[dict[str, bytes]] = [{} for _ in rows]
    frame = plan.frame()
    own = frame.store
    frame.use(store)
    for _ in range(pushes):
        made = plan.run(frame, sessions, tuple(joined))
        store.settle(frame.ticket, 1)
        for end, array in zip(plan.outputs, made, strict=True):
            for row, about in enumerate(found):
                about[end.name] = about.get(end.name, b"") + np.take(array, row, end.axis).tobytes()
    frame.use(own)
    plan.give_back(frame)
    for session, about in zip(sessions.tolist(), found, strict=True):
        about |= {f"state {name}": array.tobytes() for name, array in store.take(session).items()}
        store.close(session)
    return found


def prove(plan: Plan, store: Store, first: tuple[Array, ...]) -> None:
    """Refuse a model whose rows depend on one another: two pushes alone and side by side must give the same bits.

    first: frames of one row. store: has room for two sessions, with none open.

    Raises `UnsupportedModelError`.
    """
    rng = late("numpy.random").default_rng(0)
    other = tuple(rng.standard_normal(a.shape).astype(a.dtype) if a.dtype.kind == "f" else a for a in first)
    both = rehearse(plan, store, [first, other], 2)
    for row, alone in zip(both, (rehearse(plan, store, [each], 2)[0] for each in (first, other)), strict=True):
        _compare(row, alone)


def _compare(row: Mapping[str, bytes], alone: Mapping[str, bytes]) -> None:
    for name, made in row.items():
        if made != alone[name]:
            raise UnsupportedModelError(
                f"output {name!r}: a row of a batch of 2 differs from the same row alone, so the rows of this model"
                " depend on one another; keep a stream for each session"
            )
