"""Stand-ins for a `SessionPool`: streams, and models without a state.

Streams serve models whose rows depend on one another, whose states have sizes that depend on the frames, or whose batch
is fixed and not 1. All are called like a pool: with handles of sessions and frames that have the sessions along the
batch axis; outputs have the same axis.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count
from typing import Any, Final, Protocol

import numpy as np

from fastgru.errors import SessionError
from fastgru.graph import Array
from fastgru.model import Model
from fastgru.streaming import Stream
from fastgru.streaming.proof import draw_others

__all__ = ["Pool", "Stateless", "Streams", "row_counts"]

_ROOM: Final = 4_096  # bytes
_SPARE: Final = 64  # streams of ended sessions that are kept for new ones


class Pool(Protocol):
    """An object that holds states and runs frames on them: a `SessionPool` or a stand-in."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    capacity: int

    @property
    def layout(self) -> str: ...
    @property
    def state_bytes(self) -> int: ...
    def save_into(self, session: int, room: Array) -> int | bytes: ...
    def load_from(self, session: int, kept: Array) -> None: ...
    def open(self, saved: bytes | None = None, *, any_target: bool = False) -> int: ...
    def close(self, session: int) -> None: ...
    def save(self, session: int) -> bytes: ...
    def load(self, session: int, saved: bytes, *, any_target: bool = False) -> None: ...
    def reset(self, session: int) -> None: ...
    def fork(self, session: int) -> int: ...
    def push_rows(self, sessions: Any, frames: Any, out: Any = None) -> Any: ...


class Streams:
    """A pool of streams, one for each session. A push is of one session; its frames have the batch of the model."""

    def __init__(self, stream: Callable[[], Stream], capacity: int) -> None:
        first = stream()
        self.inputs, self.outputs, self.capacity = first.inputs, first.outputs, capacity
        self._make, self._handles = stream, count(1)
        self._streams: dict[int, Stream] = {}
        self._spare = [first]

    def open(self, saved: bytes | None = None, *, any_target: bool = False) -> int:
        """Return the handle of a new session, from zeros or from a saved state.

        Raises `SessionError` if there are too many sessions, `StateError` for a state that does not fit.
        """
        try:
            stream = self._spare.pop()
        except IndexError:  # another thread may have taken the last one
            stream = self._make()
        if saved is not None:
            stream.load_state(saved, any_target=any_target)
        return self._keep(stream)

    def _keep(self, stream: Stream) -> int:
        if len(self._streams) >= self.capacity:
            raise SessionError(f"all {self.capacity} sessions are in use")
        handle = next(self._handles)
        self._streams[handle] = stream
        return handle

    def close(self, session: int) -> None:
        stream = self._streams.pop(session)
        if len(self._spare) < _SPARE and all(None not in shape for shape in stream.state_shapes.values()):
            stream.reset()
            self._spare.append(stream)

    @property
    def layout(self) -> str:
        """A description of the bytes of `save_into`."""
        return "saved states of streams"

    @property
    def state_bytes(self) -> int:
        """How many bytes a state should have room for; if its sizes are free, a state may need more."""
        return len(self._spare[-1].save_state()) if self._spare else _ROOM

    def save_into(self, session: int, room: Array) -> int | bytes:
        """Write the state, as `save` returns it, into an array of uint8.

        Returns the number of bytes, or the state itself if it is too long for the array.
        """
        saved = self.save(session)
        if len(saved) > len(room):
            return saved
        room[: len(saved)] = np.frombuffer(saved, np.uint8)
        return len(saved)

    def load_from(self, session: int, kept: Array) -> None:
        """Load a state that `save_into` has written, on any target."""
        self.load(session, kept.tobytes(), any_target=True)

    def save(self, session: int) -> bytes:
        return self._streams[session].save_state()

    def load(self, session: int, saved: bytes, *, any_target: bool = False) -> None:
        self._streams[session].load_state(saved, any_target=any_target)

    def reset(self, session: int) -> None:
        self._streams[session].reset()

    def fork(self, session: int) -> int:
        return self._keep(self._streams[session].fork())

    def push_rows(self, sessions: Any, frames: Any, out: Any = None) -> Any:
        (session,) = sessions
        return self._streams[int(session)].push(*(frames if isinstance(frames, tuple) else (frames,)), out=out)


class Stateless:
    """Runs frames without a session, of a model without a state or from a state of zeros. Handles are ignored."""

    def __init__(self, model: Model, axes: Mapping[str, int] | None = None) -> None:
        """axes: the batch axis of each input and state of a model with states, which have no other free sizes."""
        states = model.graph.states
        self.inputs = tuple([spec.name for spec in model.inputs if spec.name not in states])
        self.outputs = tuple(dict.fromkeys([s.name for s in model.outputs if s.name not in states.values()]))
        self._states = [spec for spec in model.inputs if spec.name in states]
        self._run, self._axes, self._graph = model.run, axes or {}, model.graph

    def push_rows(self, sessions: Any, frames: Any, out: Any = None) -> Any:
        given = frames if isinstance(frames, tuple) else (frames,)
        feeds = dict(zip(self.inputs, given, strict=True))
        if self._states:
            rows = given[0].shape[self._axes[self.inputs[0]]]
            for spec in self._states:
                feeds[spec.name] = self._graph.start(
                    spec.name, [rows if n is None else n for n in spec.shape or ()], spec.dtype
                )
        results = self._run(feeds)
        made = tuple([results[name] for name in self.outputs])
        return made[0] if len(made) == 1 else made

    def others(self, frames: tuple[Array, ...]) -> Iterator[tuple[Array, ...]]:
        """Yield a few draws of random frames that differ from these."""
        return draw_others(self._graph, dict(zip(self.inputs, frames, strict=True)))


def row_counts(rows: int, most: int) -> Sequence[int]:
    """Split `rows` into powers of two of at most `most`, the largest first."""
    counts = [most] * (rows // most)
    rest = rows % most
    return [*counts, *[1 << bit for bit in range(rest.bit_length())[::-1] if rest >> bit & 1]]
