"""The heads of calls, decoded: the method, the identity of the client, and the timeout.

A client repeats its headers for every call, mostly as references to HPACK's dynamic table. So the meaning of a block is
cached for as long as neither that table nor the API keys change.
"""

from collections.abc import Callable
from typing import Final

from hpack import Decoder, HPACKError

from fastgru.serve.app import Identity
from fastgru.serve.errors import ServeError
from fastgru.serve.grpc.call import Method, Opened
from fastgru.serve.grpc.frames import COMPRESSION, Fault
from fastgru.serve.grpc.head import read_head
from fastgru.serve.keys import Guard

__all__ = ["Heads"]

_REMEMBERED: Final = 256  # how many blocks are cached
_REMEMBERED_BYTES: Final = 1_024  # the largest block that is cached


class Heads:
    """Reads the heads of one connection.

    find: returns the method of a path; for an unknown path, one that refuses every call. guard: identifies the client.
    """

    def __init__(self, find: Callable[[bytes], Method], guard: Guard, *, max_bytes: int, max_headers: int) -> None:
        self._find, self._guard, self._most, self._most_headers = find, guard, max_bytes, max_headers
        self._decoder = Decoder(4 * max_bytes)
        self._known: dict[bytes, Opened] = {}
        self._reads = guard.reads

    def read(self, block: bytes) -> Opened:
        """Return the head in a block. Raises `HeadError` for an invalid head, `Fault` for a block that is not HPACK."""
        if self._reads != self._guard.reads:
            self._reads = self._guard.reads
            self._known.clear()
        opened = self._known.get(block)
        if opened is not None:
            return opened
        before = self._table()
        try:
            headers: list[tuple[bytes, bytes]] = self._decoder.decode(block, raw=True)
        except (HPACKError, IndexError, ValueError):
            raise Fault(COMPRESSION, "a head cannot be decoded", "head") from None
        after = self._table()
        is_same = before[:2] == after[:2] and before[2] is after[2]
        if not is_same or len(self._known) >= _REMEMBERED:
            self._known.clear()
        if not is_same or len(block) > _REMEMBERED_BYTES:
            return self._opened(headers)
        opened = self._known[block] = self._opened(headers)
        return opened

    def _table(self) -> tuple[int, int, object]:
        """Return values that change with the table: its size, its number of headers, and the newest header."""
        table = self._decoder.header_table
        entries = table.dynamic_entries
        return table.maxsize, len(entries), entries[0] if entries else None

    def _opened(self, given: list[tuple[bytes, bytes]]) -> Opened:
        head, error, identity = read_head(given), None, Identity()
        method = self._find(head.path)
        try:
            if sum([len(name) + len(value) + 32 for name, value in given]) > self._most:
                raise ServeError(431, f"the headers have more than {self._most} bytes", reason="head")
            if len(given) > self._most_headers:
                raise ServeError(431, f"got {len(given)} headers, expected at most {self._most_headers}", reason="head")
            identity = self._guard.identify(head.headers, method.is_health)
            if head.timeout_ns == -1:
                raise ServeError(400, "grpc-timeout must be a whole number and a unit, such as 100m", reason="header")
        except ServeError as refused:
            error = refused
        return Opened(head.status, method, identity, head.headers, head.timeout_ns, error)
