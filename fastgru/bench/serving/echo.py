"""The floor for every server: a raw TCP echo with one thread, one epoll, and no parsing.

A separate process runs this file as a script, which imports nothing of the package: echo.py PORT SIZE. It prints the
port on which it listens.
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

_PIECE = 1 << 16  # bytes at once; the same as `link.PIECE`, which this script cannot import


def echo(port: int, size: int) -> None:
    """Send back all data, `size` bytes at a time."""
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
                if len(data) == size and not rest[fd]:  # nearly always
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
    """Return the command of a process that echoes on a port of this machine; 0 takes a free port."""
    return [sys.executable, "-I", __file__, str(port), str(size)]


@contextmanager
def echoing(size: int) -> Iterator[int]:
    """Start such a process and yield its port; it ends with the block. Raises `OSError` if it does not start."""
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
