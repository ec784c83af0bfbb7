"""An awaitable for a job: like a future, but it wakes its waiter without another iteration of the event loop."""

import asyncio
from collections.abc import Callable, Generator
from contextvars import Context
from typing import Any

__all__ = ["Waiter"]


class Waiter:
    """An awaitable that is awaited once, by a task or by an `Exchange`, which drives a coroutine as a task does.

    It has the methods of a future that `asyncio.Task` needs. The callback of a future runs in the loop's next
    iteration; that of a waiter runs inside `wake`, unless a task is running then.
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
        """Resume the waiting coroutine now, or in the loop's next iteration if a task is running."""
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
        """Raise `CancelledError` in the waiting coroutine, in the next iteration of the loop.

        Returns False if the waiter was already woken or cancelled.
        """
        if self._done:
            return False
        self._done = self._cancelled = True
        if self._callback is not None:
            self._loop.call_soon(self._callback, self, context=self._context)
        return True

    def add_done_callback(self, callback: Callable[[Any], object], *, context: Context | None = None) -> None:
        """Have the callback called when the waiter is woken or cancelled."""
        self._callback, self._context = callback, context
        if self._done:
            self._loop.call_soon(callback, self, context=context)

    def result(self) -> None:
        """Return None. Raises `CancelledError` if the waiter was cancelled."""
        if self._cancelled:
            raise asyncio.CancelledError

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """Return the event loop of the waiter."""
        return self._loop
