"""Which connections can be read or written, and sleeping until then with a resolution of microseconds."""

from __future__ import annotations

import ctypes
import select
import selectors
import sys

from fastgru.bench.serving.connection import Connection

__all__ = ["READ", "WRITE", "Poll", "poll_over"]

READ, WRITE = 1, 2  # bits of masks
_MASKS = {1: READ, 4: WRITE}  # of EPOLLIN and EPOLLOUT alone
_PR_SET_TIMERSLACK = 29
_SELECTABLE = 1024  # descriptors below this can be given to select()
_SPARE = 64  # descriptors of everything else


class Poll:
    """What `selectors` has, for any system."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._fds: dict[int, Connection] = {}
        self._of: dict[int, int] = {}  # by the number of a connection

    def wait(self, wait_ns: int) -> list[tuple[Connection, int]]:
        """What can be read or written, at once or as soon as something can within so long."""
        return [(key.data, mask) for key, mask in self._selector.select(max(0, wait_ns) / 1e9)]

    def watch(self, connection: Connection, mask: int) -> None:
        """Tell of a connection when it can be read, or written, as `mask` has it."""
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
    """Linux, with less between the kernel and the loop, and sleep that does not end at whole milliseconds."""

    def __init__(self) -> None:
        super().__init__()
        self._epoll = select.epoll()
        self._fine = self._epoll.fileno() < _SELECTABLE
        ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0)  # short sleeps are not made longer

    def wait(self, wait_ns: int) -> list[tuple[Connection, int]]:
        events = self._epoll.poll(0)
        if not events and wait_ns > 0:
            if self._fine:
                select.select((self._epoll.fileno(),), (), (), wait_ns / 1e9)
                events = self._epoll.poll(0)
            else:
                events = self._epoll.poll(wait_ns / 1e9)
        fds = self._fds  # what is neither is an error, which reading and writing tell
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
    """One for so many connections, to which the process's bound on open files is raised."""
    _allow(count + _SPARE)
    return _Epoll() if sys.platform == "linux" else Poll()


def _allow(count: int) -> None:
    """Raise the bound on open files to `count`, as far as this process may."""
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
