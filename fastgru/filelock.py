"""Locks between processes: a process holds the lock of a file until it releases it or ends, even by a crash."""

import os
import sys
from pathlib import Path
from typing import Final

__all__ = ["FileLock", "HeldError"]

_BEYOND: Final = 1 << 20  # Windows lets nobody read a byte that is locked: one behind the text


class HeldError(Exception):
    """Another process, or another part of this one, has the lock. holder: the number of the process, or "?"."""

    def __init__(self, holder: str) -> None:
        super().__init__(f"held by process {holder}")
        self.holder = holder


class FileLock:
    """The lock of `path`, a file that is made where it is not there, and that says which process has it.

    Raises `HeldError` where somebody else has it, and `OSError` where the file cannot be written or locked.
    """

    def __init__(self, path: Path, mode: int = 0o666) -> None:
        self._path = path
        while not self._opened(mode):  # whoever had the file has removed it in between
            pass
        os.ftruncate(self._file, 0)
        os.write(self._file, b"%d\n" % os.getpid())

    def _opened(self, mode: int) -> bool:
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT, mode)
        try:
            _take(self._file)
            if os.path.samestat(os.fstat(self._file), self._path.stat()):
                return True
        except FileNotFoundError:
            pass
        except BaseException:
            os.close(self._file)
            raise
        os.close(self._file)
        return False

    def release(self, *, remove: bool = False) -> None:
        """Give it back; with `remove`, without leaving the file."""
        if self._file < 0:
            return
        if remove and sys.platform != "win32":
            self._path.unlink(missing_ok=True)  # while nobody else can have it
        os.close(self._file)
        self._file = -1
        if remove and sys.platform == "win32":  # which removes no file that somebody has open
            try:
                self._path.unlink(missing_ok=True)
            except PermissionError:
                pass


def _take(file: int) -> None:
    if sys.platform == "win32":
        import msvcrt

        try:
            os.lseek(file, _BEYOND, os.SEEK_SET)
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        except PermissionError:
            raise HeldError(_holder(file)) from None
        finally:
            os.lseek(file, 0, os.SEEK_SET)
    else:
        import fcntl

        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise HeldError(_holder(file)) from None


def _holder(file: int) -> str:
    os.lseek(file, 0, os.SEEK_SET)
    return os.read(file, 32).decode("ascii", "replace").strip() or "?"
