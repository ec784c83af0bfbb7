"""Frames given by name, as `Model.run` takes its inputs."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fastgru.errors import ShapeError, StateError

__all__ = ["in_order"]


def in_order(
    what: str, names: Sequence[str], frames: tuple[Any, ...], states: Iterable[str] = (), *, note: str = ""
) -> tuple[Any, ...]:
    """Return the frames in the order of `names` if they are one mapping by name, otherwise as they are.

    note: the end of the message of a `ShapeError`. Raises `ShapeError` that lists missing and unknown names, and
    `StateError` if a name is that of a state.
    """
    if len(frames) != 1 or not isinstance(frames[0], Mapping):
        return frames
    given: Mapping[Any, Any] = frames[0]
    if kept := [name for name in states if name in given]:
        raise StateError(
            f"{what}: {kept[0]!r} is a state, which the stream keeps from frame to frame: use set_state to change it"
        )
    missing = [name for name in names if name not in given]
    unknown = [str(name) for name in given if name not in names]
    if missing or unknown:
        faults = [f"{word} {', '.join(some)}" for word, some in (("missing", missing), ("unknown", unknown)) if some]
        raise ShapeError(f"{what}: {'; '.join(faults)}; expected {', '.join(names)}{note}")
    return tuple([given[name] for name in names])
