"""Waits until connections can be read or written, with a resolution of microseconds."""

from __future__ import annotations

import ctypes
import select
import selectors
import sys

from fastgru.bench.serving.connection import Connection

__all__ = ["READ", "WRITE", "Poll", "poll_over"]

READ, WRITE = 1, 2  # bits of a mask
_MASKS = {1: READ, 4: WRITE}  # for EPOLLIN and EPOLLOUT alone
_PR_SET_TIMERSLACK = 29
_SELECTABLE = 1024  # select() takes descriptors below this number
_SPARE = 64  # descriptors for everything else


class Poll:
    """A poll over connections, with `selectors`, for any system."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._fds: dict[int, Connection] = {}
        self._of: dict[int, int] = {}  # descriptor, by the number of the connection

    def wait(self, wait_ns: int) -> list[tuple[Connection, int]]:
        """Return the connections that can be read or written now, or else the first that can within `wait_ns`."""
        return [(key.data, mask) for key, mask in self._selector.select(max(0, wait_ns) / 1e9)]

    def watch(self, connection: Connection, mask: int) -> None:
        """Watch a connection for reading or writing, according to `mask`."""
        fd = connection.fileno()
        known = self._of.get(connection.number) == fd
        self._of[connection.number], self._fds[fd] = fd, connection
        self._set(fd, mask, known)

    def forget(self, connection: Connection) -> None:
        if (fd := self._of.pop(connection.number, None)) is not None:
            del self._fds[fd]
            self._unset(fd)

    def _set(self, fd: int, mask: int, known: bool) -> None:
        (self._selector.modify if known else self._selector.register)(fd, mask, self._fds[fd])

    def _unset(self, fd: int) -> None:
        self._selector.unregister(fd)

    def close(self) -> None:
        self._selector.close()


class _Epoll(Poll):
    """A poll for Linux, with less overhead, and with sleeps that are not rounded to milliseconds."""

    def __init__(self) -> None:
        super().__init__()
        self._epoll = select.epoll()
        self._fine = self._epoll.fileno() < _SELECTABLE
        ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0)  # the kernel must not lengthen short sleeps

    def wait(self, wait_ns: int) -> list[tuple[Connection, int]]:
        events = self._epoll.poll(0)
        if not events and wait_ns > 0:
            if self._fine:
                select.select((self._epoll.fileno(),), (), (), wait_ns / 1e9)
                events = self._epoll.poll(0)
            else:
                events = self._epoll.poll(wait_ns / 1e9)
        fds = self._fds  # any other event is an error, which reading or writing will report
        return [(fds[fd], _MASKS.get(mask, READ | WRITE)) for fd, mask in events]

    def _set(self, fd: int, mask: int, known: bool) -> None:
        events = (select.EPOLLIN if mask & READ else 0) | (select.EPOLLOUT if mask & WRITE else 0)
        (self._epoll.modify if known else self._epoll.register)(fd, events)

    def _unset(self, fd: int) -> None:
        self._epoll.unregister(fd)

    def close(self) -> None:
        super().close()
        self._epoll.close()


def poll_over(count: int) -> Poll:
    """Return a poll for so many connections, and raise the process's limit on open files accordingly."""
    _allow(count + _SPARE)
    return _Epoll() if sys.platform == "linux" else Poll()


def _allow(count: int) -> None:
    """Raise the limit on open files to `count`, as far as this process may."""
    try:
        import resource
    except ImportError:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < count:
        wanted = count if hard == resource.RLIM_INFINITY else min(count, hard)
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (OSError, ValueError):
            return
