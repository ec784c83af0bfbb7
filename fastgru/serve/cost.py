"""How long a push will take: what pushes of its shapes have taken, and before any has, what its size lets expect."""

from typing import Final

__all__ = ["Cost"]

_WEIGHT: Final = 0.125  # of the newest measurement
_MOST: Final = 24


class Cost:
    """Of pushes of one group of jobs, by the number of rows. first_ns: what is expected of a row before one has run."""

    __slots__ = ("_by_size", "first_ns")

    def __init__(self, first_ns: float) -> None:
        self.first_ns = first_ns
        self._by_size: list[float] = [0.0] * _MOST  # nanoseconds a row, by the bits of the number of rows

    def ns(self, rows: int) -> float:
        """Expected of a push of so many rows."""
        each = self._by_size[rows.bit_length()]
        if each:
            return each * rows
        known = next((ns for ns in self._by_size[rows.bit_length() :: -1] if ns), 0.0)
        return (known or self.first_ns) * rows

    def measured(self, rows: int, took_ns: int) -> None:
        """A push of so many rows took so long."""
        size, each = rows.bit_length(), took_ns / rows
        was = self._by_size[size]
        self._by_size[size] = was + _WEIGHT * (each - was) if was else each
