"""The sockets on which the server listens."""

import errno
import os
import socket
import stat
from pathlib import Path
from typing import Final

from fastgru.serve.settings import Settings, SettingsError

__all__ = ["close_all", "listen", "listen_for_grpc", "urls_of"]

_BACKLOG: Final = 2_048


def listen(settings: Settings) -> list[socket.socket]:
    """Return listening sockets: one for each address of the host, or the Unix socket.

    Raises `SettingsError` if one of them cannot be bound.
    """
    if settings.unix is not None:
        return [_listen_unix(settings.unix, int(settings.unix_mode, 8))]
    return _listen(settings.host, settings.port)


def listen_for_grpc(settings: Settings) -> list[socket.socket]:
    """Return the listening sockets for gRPC, or none if it is off. Raises `SettingsError`, as `listen` does."""
    port = settings.port_of_grpc
    return _listen(settings.host, port, " (--grpc-port)") if port else []


def _listen(host: str, port: int, flag: str = "") -> list[socket.socket]:
    found: list[socket.socket] = []
    try:
        for family, _, _, _, address in socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        ):
            # If the system chose a free port for the first address, the other addresses get the same port.
            found.append(_bound(family, (address[0], port, *address[2:])))
            port = found[0].getsockname()[1]
    except OSError as error:
        close_all(found)
        raise SettingsError(f"cannot listen at {host}, port {port}{flag}: {error.strerror}") from None
    return found


def _bound(family: int, address: tuple[object, ...]) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        if os.name == "posix":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(address)
        sock.listen(_BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock


def _listen_unix(path: Path, mode: int) -> socket.socket:
    if not hasattr(socket, "AF_UNIX"):
        raise SettingsError(f"{path}: this system has no Unix sockets")
    _remove_stale(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o777 & ~mode)  # so that the socket has its permissions from the beginning
    try:
        sock.bind(str(path))
        sock.listen(_BACKLOG)
    except OSError as error:
        sock.close()
        raise SettingsError(f"cannot listen at {path}: {error.strerror or error}") from None
    finally:
        os.umask(before)
    return sock


def _remove_stale(path: Path) -> None:
    """Remove a socket of this user on which nobody listens. Raises `SettingsError` for anything else at this path."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise SettingsError(f"{path} exists and is not a socket: give another path, or remove the file")
    if found.st_uid != os.geteuid():
        raise SettingsError(f"{path} is a socket of another user: give another path")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        code = probe.connect_ex(str(path))
    if code != errno.ECONNREFUSED:
        raise SettingsError(f"another server listens at {path}: give another path, or stop that server")
    path.unlink()


def close_all(sockets: list[socket.socket], unix: Path | None = None) -> None:
    """Close the sockets, and remove the Unix socket's file unless another server listens there."""
    for sock in sockets:
        sock.close()
    if unix is not None and sockets:
        try:
            _remove_stale(unix)
        except (SettingsError, OSError):
            pass


def urls_of(sockets: list[socket.socket], scheme: str) -> list[str]:
    """Return the addresses for clients, such as "http://127.0.0.1:8000" or "unix:/run/fastgru.sock"."""
    found = []
    for sock in sockets:
        name = sock.getsockname()
        if isinstance(name, str):
            found.append(f"unix:{name}")
        else:
            found.append(f"{scheme}://[{name[0]}]:{name[1]}" if ":" in name[0] else f"{scheme}://{name[0]}:{name[1]}")
    return found
