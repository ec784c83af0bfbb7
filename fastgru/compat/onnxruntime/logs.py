"""The default logger: messages of sessions go to a callback, if one is set, and nowhere else."""

import enum
import sys
from collections.abc import Callable
from typing import Any, Final

from fastgru.compat.onnxruntime.errors import RuntimeException

__all__ = [
    "Severity",
    "log",
    "set_default_logger_callback",
    "set_default_logger_severity",
    "set_default_logger_verbosity",
]

# (severity, category, logid, code_location, message)
Callback = Callable[[int, str, str, str, str], Any]


class Severity(enum.IntEnum):
    """onnxruntime's numbers of severities."""

    VERBOSE = 0
    INFO = 1
    WARNING = 2
    ERROR = 3
    FATAL = 4


_DEFAULT: Final = "Default"


class _Logger:
    callback: Callback | None = None
    severity: int = Severity.WARNING


_logger: Final = _Logger()


def set_default_logger_callback(callback: Callback | None, severity: int = Severity.WARNING) -> None:
    """Set the function that gets every message as (severity, category, logid, code_location, message); None removes it.

    An exception of the callback goes to `sys.excepthook` and no further.
    """
    level = _checked(severity)
    if callback is not None and not callable(callback):
        raise RuntimeException(f"set_default_logger_callback: expected a callable or None, got {type(callback)}")
    _logger.callback = callback
    if callback is not None:
        _logger.severity = level


def set_default_logger_severity(severity: int) -> None:
    """Set the least severity for the callback: 0 verbose, 1 info, 2 warning, 3 error, 4 fatal."""
    _logger.severity = _checked(severity)


def set_default_logger_verbosity(verbosity: int) -> None:
    """Do nothing: messages have no finer levels."""


def log(severity: Severity, logid: str, message: str, *, where: str, level: int = -1) -> None:
    """Pass a message to the callback. level: the least severity of the session, -1 for that of the default logger."""
    callback = _logger.callback
    if callback is None or severity < (_logger.severity if level < 0 else level):
        return
    try:
        callback(int(severity), "onnxruntime", logid or _DEFAULT, where, message)
    except Exception as error:
        sys.excepthook(type(error), error, error.__traceback__)


def _checked(severity: int) -> int:
    if not Severity.VERBOSE <= int(severity) <= Severity.FATAL:
        raise RuntimeException(f"severity is {severity}, expected 0 (verbose) to 4 (fatal)")
    return int(severity)
