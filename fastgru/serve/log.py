"""The log of the server: lines for people or for programs, to standard error.

A line is written when something begins, ends or fails, and none for a request. What is refused is counted, and told by
reason at most every ten seconds. No line has a key, a body or a header.
"""

import json
import logging
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Final, TextIO

__all__ = ["Refusals", "event", "set_up"]

_LOGGERS: Final = ("fastgru.serve", "uvicorn.error", "asyncio")
_QUIET_SECONDS: Final = 10.0

_log: Final = logging.getLogger("fastgru.serve")


def event(name: str, message: str, *, level: int = logging.INFO, **fields: Any) -> None:
    """A line: the message for people; the name and the fields for programs."""
    _log.log(level, "%s", message, extra={"event": name, "fields": fields})


def set_up(form: str, stream: TextIO | None = None) -> Callable[[], None]:
    """Write the log as "text" or "json" from now on; what is returned undoes it."""
    handler = logging.StreamHandler(sys.stderr if stream is None else stream)
    handler.setFormatter(_Json() if form == "json" else _Text())
    before = [(name, *_taken(logging.getLogger(name), handler)) for name in _LOGGERS]

    def undo() -> None:
        for name, level, propagates in before:
            logger = logging.getLogger(name)
            logger.removeHandler(handler)
            logger.setLevel(level)
            logger.propagate = propagates

    return undo


def _taken(logger: logging.Logger, handler: logging.Handler) -> tuple[int, bool]:
    found = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.INFO if logger is _log else logging.WARNING)
    logger.propagate = False
    return found


class Refusals:
    """Tells from time to time what has been refused. counts: by reason, growing. last: what the last one asked for, and
    who, as far as that is known.
    """

    def __init__(self, counts: Mapping[str, int], last: Mapping[str, str] = MappingProxyType({})) -> None:
        self._counts, self._last = counts, last
        self._told: Counter[str] = Counter()
        self._when: dict[str, float] = {}

    def look(self, now: float) -> None:
        """Write a line for each reason that has grown, unless it was told not long ago. now: seconds of any clock."""
        for reason, count in self._counts.items():
            more = count - self._told[reason]
            if more and now - self._when.get(reason, -_QUIET_SECONDS) >= _QUIET_SECONDS:
                self._told[reason], self._when[reason] = count, now
                what, last = f"{more:,} request{'s' * (more > 1)} refused: {reason}", self._last.get(reason, "")
                text = f"{what}; the last: {last}" if last else what
                event("refused", text, level=logging.WARNING, reason=reason, count=more, last=last)


class _Text(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        text = f"{_time(record)} {record.levelname:<7} {_one_line(record.getMessage())}"
        return text + "\n" + self.formatException(record.exc_info) if record.exc_info else text


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "event": getattr(record, "event", "log"),
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def _one_line(text: str) -> str:
    """Nobody can begin a line of the log but us."""
    return "".join([char if char.isprintable() else repr(char)[1:-1] for char in text])
