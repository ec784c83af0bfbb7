"""A limit on the memory of things that are kept for later use; the least used ones are dropped first."""

from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from typing import Final

from fastgru.errors import ShapeError

__all__ = ["PLAN_BYTES", "Budget"]

PLAN_BYTES: Final = 256 << 20


class Budget:
    """Entries of so many bytes in all; at least the newest is kept. Used under `process.lock`.

    limit: bytes. Raises `ShapeError` where it is no number of bytes.
    gone: keys of what has been freed; a finaliser, which may come at any moment, adds to it.
    """

    def __init__(self, limit: int) -> None:
        if isinstance(limit, bool) or not isinstance(limit, int) or limit < 0:
            raise ShapeError(f"plan_bytes is {limit!r}, expected an integer of at least 0")
        self.limit = limit
        self.gone: deque[Hashable] = deque()
        self._entries: OrderedDict[Hashable, tuple[int, Callable[[], object]]] = OrderedDict()

    def add(self, key: Hashable, nbytes: int, drop: Callable[[], object]) -> None:
        """Enter what takes `nbytes` until `drop` lets go of it, in the place of what had the key."""
        self.forget(key)
        while self.gone:
            self.forget(self.gone.pop())
        self._entries[key] = (nbytes, drop)
        while self.used > self.limit and len(self._entries) > 1:
            _, (_, let_go) = self._entries.popitem(last=False)
            let_go()

    @property
    def used(self) -> int:
        """Bytes of all entries: a sum that was kept would be wrong where a signal handler came between its parts."""
        return sum(nbytes for nbytes, _ in list(self._entries.values()))

    def touch(self, key: Hashable) -> None:
        """It has been used again."""
        if key in self._entries:
            self._entries.move_to_end(key)

    def forget(self, key: Hashable) -> None:
        """It is gone."""
        self._entries.pop(key, None)

    def clear(self) -> None:
        """Let go of everything."""
        while self._entries:
            _, (_, let_go) = self._entries.popitem(last=False)
            let_go()

    def __len__(self) -> int:
        return len(self._entries)
