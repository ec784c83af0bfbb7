"""Connections that remember what came back, so that it can be compared with a stream in process."""

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
    """digest: a checksum over all outputs that came back. refused: which answers said that a frame was not taken."""

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
        """The digest of the same frames, without those refused, pushed into `stream`."""
        digest, refused = 0, set(self.refused)
        for i in range(self.answers):
            if i not in refused:
                frame = self.frames[(self.begin + i) % len(self.frames)]
                digest = zlib.crc32(np.ascontiguousarray(stream.push(frame)).tobytes(), digest)
        return digest
