"""The floor of every server: raw TCP, where whatever comes goes back. One thread, one epoll, nothing parsed.

A process of its own runs this file as a script, so that it imports nothing of the package: echo.py PORT SIZE, which
prints the port that it listens at.
"""

from __future__ import annotations

import gc
import select
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["echo", "echo_words", "echoing"]

_PIECE = 1 << 16  # bytes at once, see `link.PIECE`, which is not to be had here


def echo(port: int, size: int) -> None:
    """Send back what comes, `size` bytes at a time."""
    gc.disable()
    server = socket.create_server(("127.0.0.1", port), backlog=1024)
    server.setblocking(False)
    print(server.getsockname()[1], flush=True)
    epoll = select.epoll()
    epoll.register(server, select.EPOLLIN)
    clients: dict[int, socket.socket] = {}
    rest: dict[int, bytes] = {}
    while True:
        for fd, _ in epoll.poll():
            client = clients.get(fd)
            if client is None:
                new, _ = server.accept()
                new.setblocking(False)
                new.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                clients[new.fileno()], rest[new.fileno()] = new, b""
                epoll.register(new, select.EPOLLIN)
                continue
            try:
                data = client.recv(_PIECE)
                if len(data) == size and not rest[fd]:  # as nearly always
                    whole = data[_sent(client, data) :]
                    if not whole:
                        continue
                elif data:
                    data = rest[fd] + data
                    whole = data[: len(data) // size * size]
                    rest[fd] = data[len(whole) :]
            except BlockingIOError:
                continue
            except OSError:
                data = b""
            if not data:
                epoll.unregister(client)
                client.close()
                del clients[fd]
            elif whole:
                client.setblocking(True)
                client.sendall(whole)
                client.setblocking(False)


def _sent(client: socket.socket, data: bytes) -> int:
    try:
        return client.send(data)
    except BlockingIOError:
        return 0


def echo_words(port: int, size: int) -> list[str]:
    """The command of a process that echoes at a port of this machine; 0 takes one that is free."""
    return [sys.executable, "-I", __file__, str(port), str(size)]


@contextmanager
def echoing(size: int) -> Iterator[int]:
    """The port of such a process, which ends with this. Raises `OSError` where it does not start."""
    with subprocess.Popen(echo_words(0, size), stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            if not line.strip().isdigit():
                raise OSError("the echo process did not start")
            yield int(line)
        finally:
            process.kill()


if __name__ == "__main__":
    echo(int(sys.argv[1]), int(sys.argv[2]))
