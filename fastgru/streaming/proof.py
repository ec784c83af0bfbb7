"""Find out whether the rows of a model depend on one another, by a trial on sessions that nobody uses."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, NamedTuple, Protocol

import numpy as np

from fastgru.errors import FastGRUError, UnsupportedModelError
from fastgru.graph import Array, Graph
from fastgru.modules import late
from fastgru.reference.domains import Domain, find_domains
from fastgru.streaming.push_frame import End, PushFrame
from fastgru.streaming.store import Store

__all__ = ["Plan", "Row", "draw_others", "prove", "rehearse"]

_DRAWS: Final = 4


class Row(NamedTuple):
    """What a session has after its pushes. made: the bytes of each "output 'y'" and "state 'h'"."""

    made: dict[str, bytes]
    state: dict[str, Array]


class Plan(Protocol):
    """A plan that pushes frames of certain shapes."""

    @property
    def inputs(self) -> Sequence[End]: ...

    @property
    def outputs(self) -> Sequence[End]: ...

    def frame(self) -> PushFrame: ...

    def give_back(self, frame: PushFrame) -> None: ...

    def run(self, frame: PushFrame, sessions: Array, frames: tuple[Array, ...]) -> tuple[Array, ...]: ...


def rehearse(
    plan: Plan,
    store: Store,
    rows: Sequence[tuple[Array, ...]],
    starts: Sequence[Mapping[str, Array] | None] | None = None,
    pushes: int = 1,
) -> list[Row]:
    """Push each of `rows` `pushes` times in a new session of `store`, side by side, and close the sessions.

    starts: the state in which each session begins, None for the start of the model.
    """
    sessions = np.array([store.open(start) for start in starts or [None] * len(rows)], np.int64)
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
            what = f"output {end.name!r}"
            for row, about in enumerate(found):
                about[what] = about.get(what, b"") + np.take(array, row, end.axis).tobytes()
    frame.use(own)
    plan.give_back(frame)
    states = [store.take(session) for session in sessions.tolist()]
    for session, about, state in zip(sessions.tolist(), found, states, strict=True):
        about |= {f"state {name!r}": array.tobytes() for name, array in state.items()}
        store.close(session)
    return [Row(about, state) for about, state in zip(found, states, strict=True)]


def prove(plan: Plan, graph: Graph, new_store: Callable[[], Store], first: tuple[Array, ...]) -> None:
    """Refuse a model whose rows depend on one another: two pushes alone and side by side must give the same bits.

    The second row has other frames, and a state that such frames have made.

    first: frames of one row. new_store: makes stores with room for two sessions.

    Raises `UnsupportedModelError`, also if the model takes no other frames, and what a push of `first` raises.
    """
    alone = rehearse(plan, new_store(), [first], pushes=2)
    failure: FastGRUError | None = None
    for other in draw_others(graph, dict(zip([end.name for end in plan.inputs], first, strict=True))):
        try:
            (before,) = rehearse(plan, new_store(), [other])
            alone += rehearse(plan, new_store(), [other], [before.state], 2)
            break
        except FastGRUError as error:
            failure = error
    else:
        raise UnsupportedModelError(
            "a trial with random frames shows whether the rows of a model depend on one another, but this model takes"
            f" none of those that were drawn ({failure}); keep a stream for each session"
        )
    both = rehearse(plan, new_store(), [first, other], [None, before.state], 2)
    for row, single in zip(both, alone, strict=True):
        _compare(row.made, single.made)


def _compare(row: Mapping[str, bytes], alone: Mapping[str, bytes]) -> None:
    for name, made in row.items():
        if made != alone[name]:
            raise UnsupportedModelError(
                f"{name}: a row of a batch of 2 differs from the same row alone, so the rows of this model depend on"
                " one another; keep a stream for each session"
            )


def draw_others(graph: Graph, frames: Mapping[str, Array]) -> Iterator[tuple[Array, ...]]:
    """Yield a few draws of random frames that differ from these in every input, wherever its domain allows this.

    frames: those of all inputs that are no states.
    """
    shapes = {name: array.shape for name, array in frames.items()}
    inputs = tuple([replace(s, shape=shapes.get(s.name, s.shape), dims=()) for s in graph.inputs])
    domains = find_domains(replace(graph, inputs=inputs))
    for seed in range(_DRAWS):
        rng = late("numpy.random").default_rng(seed)
        yield tuple([_other(array, domains[name], rng) for name, array in frames.items()])


def _other(array: Array, domain: Domain, rng: Any) -> Array:
    """Return an array of other values. Integers without a known domain stay between 0, 1 and those of the array."""
    counts = array.dtype.kind in "iu"
    if not (counts or array.dtype.kind == "b" or domain.kind in ("ids", "lengths")):
        return np.asarray(rng.standard_normal(array.shape).astype(array.dtype))
    low, high = 0, 1
    if domain.kind == "ids":
        high = domain.size - 1
    elif counts and array.size:
        low, high = min(low, int(array.min())), max(high, int(array.max()))
    drawn = rng.integers(low, high, array.shape, endpoint=True)
    if np.array_equal(drawn, array):
        drawn = np.where(drawn < high, drawn + 1, low)
    return np.asarray(drawn.astype(array.dtype))
