"""The log of the server: lines for people or for programs, on standard error.

Lines are written when something begins, ends or fails, but not for single requests. Refusals are counted, and logged
for each reason at most every ten seconds. No line contains a key, a body or a header.
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
    """Write a line with a message for people, and a name and fields for programs."""
    _log.log(level, "%s", message, extra={"event": name, "fields": fields})


def set_up(form: str, stream: TextIO | None = None) -> Callable[[], None]:
    """Write the log as "text" or "json" from now on; return a function that undoes this."""
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
    """Logs refusals from time to time.

    counts: total counts by reason. last: what the last refused request of each reason asked for, and from where, as far
    as that is known.
    """

    def __init__(self, counts: Mapping[str, int], last: Mapping[str, str] = MappingProxyType({})) -> None:
        self._counts, self._last = counts, last
        self._told: Counter[str] = Counter()
        self._when: dict[str, float] = {}

    def look(self, now: float) -> None:
        """Log each reason whose count has grown, unless it was logged shortly before. now: seconds of any clock."""
        for reason, count in self._counts.items():
            more = count - self._told[reason]
            if more and now - self._when.get(reason, -_QUIET_SECONDS) >= _QUIET_SECONDS:
                self._told[reason], self._when[reason] = count, now
                what, last = f"{more:,} request{'s' * (more > 1)} refused: {reason}", self._last.get(reason, "")
                text = f"{what}; the last: {last}" if last else what
                event("refused", text, level=logging.WARNING, reason=reason, count=more, last=last)


class _Text(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        text = f"{_time(record)} {record.levelname:<7} {_one_line(record.getMessage().rstrip())}"
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
    """Escape unprintable characters, so that no text from outside can begin a line of the log."""
    return "".join([char if char.isprintable() else repr(char)[1:-1] for char in text])
