"""Connections that remember the answers, so that they can be compared with a stream in process."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastgru.bench.serving.connection import Connection
from fastgru.bench.serving.wire import Wire

__all__ = ["Replayed"]

Array = np.ndarray[Any, Any]


class Replayed(Connection):
    """digest: a checksum over all received outputs. refused: the numbers of the answers that refused a frame."""

    def __init__(self, wire: Wire, session: int, frames: Sequence[Array], at: int = 0) -> None:
        super().__init__(wire, session, frames, at)
        self.begin, self.digest = at, 0
        self.refused: list[int] = []

    def take(self, status: int, body: bytes) -> None:
        if status == 200:
            self.digest = zlib.crc32(self.wire.tensor(body), self.digest)
        else:
            self.refused.append(self.answers)
        super().take(status, body)

    def replay(self, stream: Any) -> int:
        """Push the same frames, without the refused ones, into `stream`, and return the digest."""
        digest, refused = 0, set(self.refused)
        for i in range(self.answers):
            if i not in refused:
                frame = self.frames[(self.begin + i) % len(self.frames)]
                digest = zlib.crc32(np.ascontiguousarray(stream.push(frame)).tobytes(), digest)
        return digest
