"""A limit on the memory of things that are kept for later use; the least used ones are dropped first."""

from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from typing import Final

from fastgru.errors import ShapeError

__all__ = ["PLAN_BYTES", "Budget"]

PLAN_BYTES: Final = 256 << 20


class Budget:
    """Entries with a limit on their bytes in all; at least the newest entry is kept. Used under `process.lock`.

    limit: bytes. Raises `ShapeError` if it is not an integer of at least 0.
    gone: keys of entries whose memory was freed; finalisers append to it, and may run at any moment.
    """

    def __init__(self, limit: int) -> None:
        if isinstance(limit, bool) or not isinstance(limit, int) or limit < 0:
            raise ShapeError(f"plan_bytes is {limit!r}, expected an integer of at least 0")
        self.limit = limit
        self.gone: deque[Hashable] = deque()
        self._entries: OrderedDict[Hashable, tuple[int, Callable[[], object]]] = OrderedDict()

    def add(self, key: Hashable, nbytes: int, drop: Callable[[], object]) -> None:
        """Add an entry of `nbytes`, which `drop` frees. It replaces the entry that had the key."""
        self.forget(key)
        while self.gone:
            self.forget(self.gone.pop())
        self._entries[key] = (nbytes, drop)
        while self.used > self.limit and len(self._entries) > 1:
            _, (_, let_go) = self._entries.popitem(last=False)
            let_go()

    @property
    def used(self) -> int:
        """The bytes of all entries. A running total would be wrong if a signal handler interrupted its update."""
        return sum(nbytes for nbytes, _ in list(self._entries.values()))

    def touch(self, key: Hashable) -> None:
        """Mark the entry as the one used last."""
        if key in self._entries:
            self._entries.move_to_end(key)

    def forget(self, key: Hashable) -> None:
        """Remove the entry without calling its `drop`."""
        self._entries.pop(key, None)

    def clear(self) -> None:
        """Drop every entry."""
        while self._entries:
            _, (_, let_go) = self._entries.popitem(last=False)
            let_go()

    def __len__(self) -> int:
        return len(self._entries)
