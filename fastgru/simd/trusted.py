"""Folders whose files are run: only their owner, who must be this user or root, may be able to change their contents.

    with open_folder(path, make=0o700) as folder:
        folder.write("name", data)
        folder.read("name", limit)

The path is followed one component at a time, and every folder is opened through a descriptor of the one above, so the
folder that is opened is the one that was checked. Each folder and symbolic link on the way must belong to this user or
to root. Nobody else may be able to write to the folders, except that those above the last may be sticky, as /tmp is. A
user's private group, of which nobody else is a member, counts as the user. Windows has no such owners and modes: there
the access lists of the folder decide.
"""

import contextlib
import errno
import functools
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

__all__ = ["Folder", "UntrustedError", "open_folder"]

_POSIX: Final = os.name == "posix"
_CAREFULLY: Final = sum(getattr(os, flag, 0) for flag in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY"))
_AS_FOLDER: Final = _CAREFULLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_PATH", os.O_RDONLY)
_MOST_LINKS: Final = 40

_TEMPORARY: Final = ".tmp"
_ABANDONED_S: Final = 3600  # an older temporary file is taken to belong to a writer that died


class UntrustedError(OSError):
    """Another user could change a file or folder, or it is no regular file; the message says which, and why."""


class Folder:
    """An open folder. Its methods take names of files in it; `path` is for messages."""

    def __init__(self, path: str, descriptor: int | None) -> None:
        self.path = path
        self._descriptor = descriptor

    def read(self, name: str, limit: int) -> bytes:
        """Return the content, at most `limit` bytes. Raises `UntrustedError` for links, devices, and unsafe files."""
        try:
            file = os.open(self._at(name), os.O_RDONLY | _CAREFULLY, dir_fd=self._descriptor)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.EMLINK):
                raise UntrustedError(f"{os.path.join(self.path, name)} is a symbolic link, expected a file") from None
            raise
        try:
            status = os.fstat(file)
            _check_file(status, os.path.join(self.path, name))
            with open(file, "rb", closefd=False) as stream:
                return stream.read(min(limit, status.st_size))
        finally:
            os.close(file)

    def write(self, name: str, data: bytes) -> None:
        """Write a file atomically: its name has either the whole new content or what it had before."""
        temporary = f".{name}-{os.urandom(8).hex()}{_TEMPORARY}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _CAREFULLY
        file = os.open(self._at(temporary), flags, 0o600, dir_fd=self._descriptor)
        try:
            with open(file, "wb") as stream:
                stream.write(data)
                if _POSIX:
                    os.fchmod(file, 0o644)
            names = self._at(temporary), self._at(name)
            os.replace(*names, src_dir_fd=self._descriptor, dst_dir_fd=self._descriptor)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(self._at(temporary), dir_fd=self._descriptor)
            raise

    def sweep(self) -> None:
        """Remove the temporary files of writers that died."""
        oldest = time.time() - _ABANDONED_S
        with contextlib.suppress(OSError):
            for entry in os.scandir(self.path):
                if entry.name.endswith(_TEMPORARY) and entry.stat(follow_symlinks=False).st_mtime < oldest:
                    os.unlink(self._at(entry.name), dir_fd=self._descriptor)

    def files(self, suffix: str) -> Iterator[tuple[int, str]]:
        """Yield (size, what is wrong with the file or "") of every file with that suffix."""
        for entry in sorted(os.scandir(self.path), key=lambda entry: entry.name):
            if entry.name.endswith(suffix):
                status, fault = entry.stat(follow_symlinks=False), ""
                try:
                    _check_file(status, entry.path)
                except UntrustedError as error:
                    fault = str(error)
                yield status.st_size, fault

    def _at(self, name: str) -> str:
        return os.path.join(self.path, name) if self._descriptor is None else name


@contextmanager
def open_folder(path: str, *, make: int | None = None) -> Iterator[Folder]:
    """Open the folder at an absolute path.

    make: the mode for missing folders, whatever the umask; None makes none. Raises `UntrustedError`, and `OSError` for
    a folder that is missing, or cannot be opened or made.
    """
    if not _POSIX:
        if make is not None:
            os.makedirs(path, exist_ok=True)
        yield Folder(path, None)
        return
    with contextlib.ExitStack() as opened:
        found, descriptor = _descend(path, make, opened)
        yield Folder(found, descriptor)


def _descend(path: str, make: int | None, opened: contextlib.ExitStack) -> tuple[str, int]:
    at, pending, links = "/", path.split("/")[::-1], 0
    folder = _open(at, None, opened)
    while pending:
        name = pending.pop()
        if name in ("", "."):
            continue
        _check_folder(os.fstat(folder), at, above=True)
        status = _look_up(name, folder, make)
        where = os.path.normpath(os.path.join(at, name))
        if stat.S_ISLNK(status.st_mode):
            _check_owner(status, where)
            links += 1
            if links > _MOST_LINKS:
                raise OSError(errno.ELOOP, "too many symbolic links", path)
            target = os.readlink(name, dir_fd=folder)
            pending += target.split("/")[::-1]
            if target.startswith("/"):
                at, folder = "/", _open("/", None, opened)
            continue
        at, folder = where, _open(name, folder, opened)
    _check_folder(os.fstat(folder), at, above=False)
    return at, folder


def _look_up(name: str, folder: int, make: int | None) -> os.stat_result:
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        if make is None:
            raise
    with contextlib.suppress(FileExistsError):
        os.mkdir(name, 0o700, dir_fd=folder)
        os.chmod(name, make, dir_fd=folder)
    return os.stat(name, dir_fd=folder, follow_symlinks=False)


def _open(name: str, folder: int | None, opened: contextlib.ExitStack) -> int:
    descriptor = os.open(name, _AS_FOLDER, dir_fd=folder)
    opened.callback(os.close, descriptor)
    return descriptor


def _check_file(status: os.stat_result, path: str) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise UntrustedError(f"{path} is a link, a folder, a pipe or a device, expected a file")
    _check_owner(status, path)
    _check_mode(status, path)


def _check_folder(status: os.stat_result, path: str, *, above: bool) -> None:
    _check_owner(status, path)
    if not (above and status.st_mode & stat.S_ISVTX):
        _check_mode(status, path)


def _check_owner(status: os.stat_result, path: str) -> None:
    if _POSIX and status.st_uid not in (0, os.geteuid()):
        raise UntrustedError(_fault(status, path))


def _check_mode(status: os.stat_result, path: str) -> None:
    by_group = status.st_mode & stat.S_IWGRP and not _is_private(status.st_uid, status.st_gid)
    if _POSIX and (status.st_mode & stat.S_IWOTH or by_group):
        raise UntrustedError(_fault(status, path))


@functools.cache
def _is_private(user: int, group: int) -> bool:
    """Return whether a group is private to one user, as on systems whose umask is 002."""
    try:
        import grp
        import pwd

        owner, owners = pwd.getpwuid(user), grp.getgrgid(group)
    except (ImportError, KeyError):
        return False
    same = owner.pw_gid == group and owner.pw_name == owners.gr_name
    return user != 0 and same and set(owners.gr_mem) <= {owner.pw_name}


def _fault(status: os.stat_result, path: str) -> str:
    return (
        f"{path} belongs to uid {status.st_uid} and has mode {stat.S_IMODE(status.st_mode):04o}, expected one of uid"
        f" {os.geteuid()} or 0 that no group and no others can write to (chmod go-w)"
    )
