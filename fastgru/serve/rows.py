"""What runs rows of frames where no `SessionPool` does: streams, for models whose rows depend on one another, whose
states have sizes that only frames tell, or whose batch is fixed and not 1; and models without a state.

All of them are called as a pool is: handles of sessions, frames with the sessions along the batch axis, outputs alike.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import count
from typing import Any, Final, Protocol

import numpy as np

from fastgru.errors import SessionError
from fastgru.graph import Array
from fastgru.model import Model
from fastgru.streaming import Stream

__all__ = ["Pool", "Stateless", "Streams", "row_counts"]

_ROOM: Final = 4_096  # bytes
_SPARE: Final = 64  # streams of sessions that have ended, which others take over


class Pool(Protocol):
    """Where states lie, and what runs on them: a `SessionPool`, or what stands in for one."""

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
    """A stream a session; a push is of one session, and its frames have whatever batch the model has."""

    def __init__(self, stream: Callable[[], Stream], capacity: int) -> None:
        first = stream()
        self.inputs, self.outputs, self.capacity = first.inputs, first.outputs, capacity
        self._make, self._handles = stream, count(1)
        self._streams: dict[int, Stream] = {}
        self._spare = [first]

    def open(self, saved: bytes | None = None, *, any_target: bool = False) -> int:
        """Raises `SessionError` where there are too many, `StateError` for a state that does not fit."""
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
        """What the bytes of `save_into` are, in words."""
        return "saved states of streams"

    @property
    def state_bytes(self) -> int:
        """For how many bytes of a state there should be room; where its sizes are free, some have more."""
        return len(self._spare[-1].save_state()) if self._spare else _ROOM

    def save_into(self, session: int, room: Array) -> int | bytes:
        """The state as `save` gives it, in an array of uint8, and how many bytes it has; itself if it is too long."""
        saved = self.save(session)
        if len(saved) > len(room):
            return saved
        room[: len(saved)] = np.frombuffer(saved, np.uint8)
        return len(saved)

    def load_from(self, session: int, kept: Array) -> None:
        """Take up what `save_into` has written, on whatever target."""
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
    """Frames that belong to no session, of a model without a state, or from zeros. Handles are not looked at."""

    def __init__(self, model: Model, axes: Mapping[str, int] | None = None) -> None:
        """axes: the batch axis of each input and state, where there are states, none of which has another free size."""
        states = model.graph.states
        self.inputs = tuple([spec.name for spec in model.inputs if spec.name not in states])
        self.outputs = tuple(dict.fromkeys([s.name for s in model.outputs if s.name not in states.values()]))
        self._states = [spec for spec in model.inputs if spec.name in states]
        self._run, self._axes, self._start = model.run, axes or {}, model.graph.start

    def push_rows(self, sessions: Any, frames: Any, out: Any = None) -> Any:
        given = frames if isinstance(frames, tuple) else (frames,)
        feeds = dict(zip(self.inputs, given, strict=True))
        if self._states:
            rows = given[0].shape[self._axes[self.inputs[0]]]
            for spec in self._states:
                feeds[spec.name] = self._start(
                    spec.name, [rows if n is None else n for n in spec.shape or ()], spec.dtype
                )
        results = self._run(feeds)
        made = tuple([results[name] for name in self.outputs])
        return made[0] if len(made) == 1 else made


def row_counts(rows: int, most: int) -> Sequence[int]:
    """`rows` as a sum of powers of two, the largest first, none above `most`."""
    counts = [most] * (rows // most)
    rest = rows % most
    return [*counts, *[1 << bit for bit in range(rest.bit_length())[::-1] if rest >> bit & 1]]
