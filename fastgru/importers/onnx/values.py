"""What a node that could not be converted would give."""

from __future__ import annotations

from fastgru.graphbuilder import Value

__all__ = ["Refused"]


class Refused(Value):
    """A value of which nothing is said, and nothing of its readers: a refusal tells of its node already."""
