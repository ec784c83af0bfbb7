"""Locks between processes: a process holds the lock of a file until it releases it or ends, even by a crash."""

import os
import sys
from pathlib import Path
from typing import Final

__all__ = ["FileLock", "HeldError"]

_BEYOND: Final = 1 << 20  # an offset behind the text, because on Windows nobody can read a locked byte


class HeldError(Exception):
    """The lock is taken, by another process or elsewhere in this one. holder: the number of the process, or "?"."""

    def __init__(self, holder: str) -> None:
        super().__init__(f"held by process {holder}")
        self.holder = holder


class FileLock:
    """The lock of the file `path`, which is created if it does not exist, and holds the number of the process.

    Raises `HeldError` if the lock is taken, and `OSError` if the file cannot be written or locked.
    """

    def __init__(self, path: Path, mode: int = 0o666) -> None:
        self._path = path
        while not self._opened(mode):  # again, because the last holder removed the file in between
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
        """Release the lock; `remove` deletes the file, too."""
        if self._file < 0:
            return
        if remove and sys.platform != "win32":
            self._path.unlink(missing_ok=True)  # while nobody else can hold the lock
        os.close(self._file)
        self._file = -1
        if remove and sys.platform == "win32":  # Windows does not remove a file that is open
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
