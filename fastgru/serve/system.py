"""What a server takes from the system: the loop of its events, open files, and signals."""

import asyncio
import signal
import threading
from collections.abc import Callable
from typing import Any

__all__ = ["allow_files", "loop_factory", "signals"]


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's, where there is one (not on Windows)."""
    try:
        import uvloop
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


def allow_files() -> None:
    """As many open files, and so connections, as the system lets this process have."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (OSError, ValueError):  # macOS has a lower limit than it says
            pass


class signals:  # noqa: N801
    """While the block runs, SIGTERM and SIGINT stop the server, and SIGHUP has it read keys and certificates again; in
    the main thread, where signals come.
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
