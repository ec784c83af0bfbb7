"""Where compiled kernels are kept, and when they are stale.

An entry is a file of its own: a checksum, what it is, and object code. The folder's name carries a hash of the
package's sources, of the versions of Numba, llvmlite and Python, and of the CPU and its features; a stale folder is
simply another one. `FASTGRU_CACHE_DIR` moves it. A folder that can be read but not written is used as it is: what it
lacks is compiled anew in each process. An entry that is damaged, or not of this folder, is as good as none.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.util
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import llvmlite

from fastgru.simd.cpu import ISA, target_cpu

__all__ = ["Entry", "cache_folder", "describe", "read", "telling", "write"]

# Whatever ends up inside compiled code stands in these folders.
_SOURCES = ("simd", "kernels")

_MAGIC: Final = b"fastgru object 1\n"
_SUFFIX: Final = ".fgo"
_DIGEST: Final = 32
_MOST_BYTES: Final = 1 << 26

_PATIENCE_S: Final = 0.3  # of compiling before anything is said


class Entry(NamedTuple):
    """Object code, its one symbol, and the parts that it calls (`kernels.table`)."""

    symbol: str
    parts: tuple[str, ...]
    code: bytes


def _user_folder() -> Path:
    if configured := os.environ.get("FASTGRU_CACHE_DIR"):
        return Path(configured)
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "fastgru"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "fastgru" / "cache"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fastgru"


def _numba_version() -> bytes:
    """Numba's version file, which tells versions apart without an import of Numba."""
    spec = importlib.util.find_spec("numba")
    folder = Path((spec.submodule_search_locations or ["."])[0]) if spec else Path()
    try:
        return (folder / "_version.py").read_bytes()
    except OSError:
        from importlib.metadata import version

        return version("numba").encode()


@functools.cache
def source_hash() -> str:
    """A hash of all that compiled code is made of: the sources, the compiler's versions, the CPU."""
    root = Path(__file__).parent.parent
    what = (llvmlite.__version__, sys.version_info[:2], sys.implementation.cache_tag, ISA, *target_cpu())
    digest = hashlib.sha256(repr(what).encode() + _numba_version())
    for folder in _SOURCES:
        for path in sorted((root / folder).rglob("*.py")):
            digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


@functools.cache
def cache_folder() -> str:
    """The folder of this version of the kernels; made if it can be, else a folder of this process's own."""
    try:
        folder = _user_folder() / f"{ISA}-{source_hash()}"
        folder.mkdir(parents=True, exist_ok=True)
        return str(folder)
    except (OSError, RuntimeError):  # no home, or one that cannot be written
        return tempfile.mkdtemp(prefix="fastgru-")


def _path(name: str) -> Path:
    return Path(cache_folder()) / (name + _SUFFIX)


def read(name: str) -> Entry | None:
    """The entry of that name; None where there is none that is whole and of this folder."""
    try:
        with open(_path(name), "rb") as file:
            data = file.read(_MOST_BYTES)
    except OSError:
        return None
    body = data[len(_MAGIC) + _DIGEST :]
    if data[: len(_MAGIC) + _DIGEST] != _MAGIC + hashlib.sha256(body).digest():
        return None
    head, _, code = body.partition(b"\n")
    try:
        found = json.loads(head)
        if found["name"] != name or found["key"] != source_hash():
            return None
        return Entry(str(found["symbol"]), tuple(map(str, found["parts"])), code)
    except (ValueError, KeyError, TypeError):
        return None


def write(name: str, entry: Entry) -> None:
    """Keep an entry for other processes, if the folder can be written: all of it or nothing."""
    head = {"name": name, "key": source_hash(), "symbol": entry.symbol, "parts": entry.parts}
    body = json.dumps(head).encode() + b"\n" + entry.code
    path = _path(name)
    try:
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{name}-")
    except OSError:  # read-only: this process keeps what it compiled in memory
        return
    try:
        with open(descriptor, "wb") as file:
            file.write(_MAGIC + hashlib.sha256(body).digest() + body)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(temporary)


_spent_s = 0.0
_told = False


def _tell() -> None:
    global _told
    if not _told and not os.environ.get("FASTGRU_QUIET"):
        _told = True
        name = target_cpu()[0]
        print(f"fastgru: compiling kernels for this CPU ({name}, {ISA}), once for all processes...", file=sys.stderr)


@contextlib.contextmanager
def telling() -> Iterator[None]:
    """Around a compilation: one line on stderr where a process spends long on it. `FASTGRU_QUIET=1` keeps it quiet."""
    global _spent_s
    timer = threading.Timer(max(0.0, _PATIENCE_S - _spent_s), _tell)
    timer.daemon = True
    started = time.monotonic()
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        _spent_s += time.monotonic() - started


def describe() -> dict[str, Any]:
    """What `fastgru doctor` prints of the cache."""
    folder = Path(cache_folder())
    files = [p for p in folder.iterdir() if p.is_file()] if folder.is_dir() else []
    return {
        "directory": str(folder),
        "writable": os.access(folder, os.W_OK),
        "entries": sum(p.suffix == _SUFFIX for p in files),
        "bytes": sum(p.stat().st_size for p in files),
    }
