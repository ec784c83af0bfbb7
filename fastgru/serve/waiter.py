"""What a coroutine waits for until its job is done: as a future, but without a turn of the event loop in between."""

import asyncio
from collections.abc import Callable, Generator
from contextvars import Context
from typing import Any

__all__ = ["Waiter"]


class Waiter:
    """Awaited once, by a task, or by whatever drives a coroutine as a task does (`exchange`).

    It has what `asyncio.Task` asks of a future. The callback of a future runs in the next turn of the loop; that of a
    waiter runs inside `wake`, unless a task is running then.
    """

    __slots__ = ("_asyncio_future_blocking", "_callback", "_cancelled", "_context", "_done", "_loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._asyncio_future_blocking = self._done = self._cancelled = False
        self._callback: Callable[[Any], object] | None = None
        self._context: Context | None = None

    def __await__(self) -> Generator[Any, None, None]:
        if not self._done:
            self._asyncio_future_blocking = True
            yield self
        self.result()

    def wake(self, _job: object = None) -> None:
        """Whoever waits goes on, now."""
        if self._done:
            return
        self._done = True
        callback = self._callback
        if callback is None:
            return
        if asyncio.current_task(self._loop) is not None:
            self._loop.call_soon(callback, self, context=self._context)
        elif self._context is None:
            callback(self)
        else:
            self._context.run(callback, self)

    def cancel(self, msg: Any = None) -> bool:
        """Whoever waits gets a `CancelledError`, in the next turn of the loop. False where it waits no longer."""
        if self._done:
            return False
        self._done = self._cancelled = True
        if self._callback is not None:
            self._loop.call_soon(self._callback, self, context=self._context)
        return True

    def add_done_callback(self, callback: Callable[[Any], object], *, context: Context | None = None) -> None:
        """Called when it is over."""
        self._callback, self._context = callback, context
        if self._done:
            self._loop.call_soon(callback, self, context=context)

    def result(self) -> None:
        """Nothing. Raises `CancelledError` where it was cancelled."""
        if self._cancelled:
            raise asyncio.CancelledError

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """The event loop that it belongs to."""
        return self._loop
