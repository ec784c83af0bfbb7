"""The server's use of the system: the event loop, the limit of open files, and signals."""

import asyncio
import signal
import threading
from collections.abc import Callable
from typing import Any

__all__ = ["allow_files", "loop_factory", "signals"]


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return uvloop's factory of event loops if it is installed (not on Windows), else None."""
    try:
        import uvloop
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


def allow_files() -> None:
    """Raise the limit of open files, and so of connections, as far as the system allows."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (OSError, ValueError):  # the limit of macOS is lower than the one that it reports
            pass


class signals:  # noqa: N801
    """A context in which SIGTERM and SIGINT stop the server, and SIGHUP makes it read keys and certificates again.

    Outside the main thread, which alone can handle signals, it does nothing.
    """

    def __init__(self, stop: Callable[[], None], reload: Callable[[], None]) -> None:
        self._calls = {signal.SIGTERM: stop, signal.SIGINT: stop}
        if hasattr(signal, "SIGHUP"):
            self._calls[signal.SIGHUP] = reload
        self._before = dict[int, Any]()

    def __enter__(self) -> None:
        if threading.current_thread() is threading.main_thread():
            loop = asyncio.get_running_loop()
            for number, call in self._calls.items():
                self._before[number] = signal.signal(number, lambda *_, call=call: loop.call_soon_threadsafe(call))

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
