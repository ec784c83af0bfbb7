"""Where compiled kernels are kept, and when they are stale.

Numba's cache of a function does not see edits in another file than its own, and a read-only package without a
writable home has no place for one. Here the folder's name carries a hash of the package's sources, of the versions
of Numba and llvmlite, and of the instruction set; a stale folder is simply another one. `FASTGRU_CACHE_DIR` moves it.
A folder that can be read but not written is used as it is: what it lacks is compiled anew in each process.
"""

from __future__ import annotations

import functools
import hashlib
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import llvmlite
import numba
from numba.core.caching import CompileResultCacheImpl, FunctionCache, _CacheLocator

from fastgru.simd.cpu import ISA

__all__ = ["CompiledCache", "cache_folder", "describe"]

# Whatever ends up inside compiled code stands in these folders.
_SOURCES = ("simd", "kernels")


def _user_folder() -> Path:
    if configured := os.environ.get("FASTGRU_CACHE_DIR"):
        return Path(configured)
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "fastgru"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "fastgru" / "cache"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fastgru"


@functools.cache
def source_hash() -> str:
    """A hash of the sources that compiled code is made of, and of the compiler's versions."""
    root = Path(__file__).parent.parent
    digest = hashlib.sha256(f"{numba.__version__} {llvmlite.__version__} {sys.version_info[:2]} {ISA}".encode())
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


class _Locator(_CacheLocator):
    """One folder for every kernel; the stamp is constant because the folder's name carries the hash."""

    def __init__(self, py_func: Any, py_file: str) -> None:
        self._name = f"{py_func.__module__}.{py_func.__qualname__}"
        self._line = py_func.__code__.co_firstlineno

    def get_cache_path(self) -> str:
        return cache_folder()

    def get_source_stamp(self) -> str:
        return source_hash()

    def get_disambiguator(self) -> str:
        return hashlib.sha256(f"{self._name}:{self._line}".encode()).hexdigest()[:10]

    def ensure_cache_path(self) -> None:
        """Nothing to prove: writing is attempted, and a folder that refuses it is still read."""

    @classmethod
    def from_function(cls, py_func: Any, py_file: str) -> _Locator:
        return cls(py_func, py_file)


class _Impl(CompileResultCacheImpl):
    _locator_classes = (_Locator,)


class CompiledCache(FunctionCache):
    """Numba's function cache in our folder."""

    _impl_class = _Impl

    def _index_key(self, sig: Any, codegen: Any) -> tuple[Any, ...]:
        """Numba's key also hashes what a function closes over, which differs in each process where that is compiled.

        The name alone is enough here: the folder stands for the sources, and no two functions share a name.
        """
        return sig, codegen.magic_tuple(), f"{self._py_func.__module__}.{self._py_func.__qualname__}"

    def save_overload(self, sig: Any, data: Any) -> None:
        try:
            super().save_overload(sig, data)
        except OSError:  # read-only: this process keeps what it compiled in memory
            return


def describe() -> dict[str, Any]:
    """What `fastgru doctor` prints of the cache."""
    folder = Path(cache_folder())
    files = [p for p in folder.iterdir() if p.is_file()] if folder.is_dir() else []
    return {
        "directory": str(folder),
        "writable": os.access(folder, os.W_OK),
        "entries": sum(p.suffix == ".nbc" for p in files),
        "bytes": sum(p.stat().st_size for p in files),
    }
