"""The cache of compiled kernels.

An entry is one file: a checksum, a line of JSON that describes it, and object code. It lies in the folder of the lowest
level that agrees with the target in the features that the entry's code uses (`Target.home`), so levels share code that
is the same for them.

The name of a folder consists of the target and a hash of the package's sources, so changed sources use another folder.
The name of an entry has a hash of its own sources if these are outside of the package.
Under `FASTGRU_TUNE=native` the name has the CPU and its features as well, and the folder is not shared between levels.
The versions of Python, Numba and llvmlite are not part of the name: they make the code, but it runs without them.
`FASTGRU_CACHE_DIR` moves all folders. A folder that can be read but not written is used as it is, and each process
compiles what is missing. An entry is ignored if it is damaged, belongs to another folder, or can be changed by other
users (`simd.trusted`).

A wheel for a platform contains such folders (`fastgru/prebuilt`, which `tools/build_wheels` fills), and a file
`sources` with the hash of the wheel's sources, from which they were built. They are read first, and trusted as the
package's sources are.
"""

import binascii
import contextlib
import functools
import os
import sys
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from fastgru.modules import late
from fastgru.simd.cpu import host_cpu
from fastgru.simd.notices import Progress, say, telling
from fastgru.simd.target import TARGET, TUNED, Target
from fastgru.simd.trusted import UntrustedError, open_folder

__all__ = [
    "PREBUILT", "Entry", "cache_folder", "compilations", "describe", "home", "mark_of", "packed", "read",
    "read_kept", "source_hash", "unpacked", "write",
]  # fmt: skip

PREBUILT: Final = os.path.join(os.path.dirname(os.path.dirname(__file__)), "prebuilt")

# All sources of compiled code are in these folders and files.
_SOURCES = ("simd", "kernels", "process.py")

_MAGIC: Final = b"fastgru object 4\n"
_SUFFIX: Final = ".fgo"
_CHECKSUM: Final = 32  # digits of binascii.crc32, against damage; a file that others may change is not read at all
_MOST_BYTES: Final = 1 << 26


class Entry(NamedTuple):
    """Object code and what it needs.

    symbol: the only one that it defines. microkernels: those that it calls (`kernels.table`). uses: the
    `target.FEATURES` that it depends on.
    """

    symbol: str
    microkernels: tuple[str, ...]
    uses: tuple[str, ...]
    code: bytes


def _user_folder() -> tuple[str, int]:
    """Return the folder, and the mode for folders that must be made. Raises `RuntimeError` without a home folder."""
    if configured := os.environ.get("FASTGRU_CACHE_DIR"):
        return configured, 0o755
    if sys.platform == "darwin":
        return os.path.join(_home(), "Library", "Caches", "fastgru"), 0o700
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA") or os.path.join(_home(), "AppData", "Local")
        return os.path.join(local, "fastgru", "cache"), 0o700
    return os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.join(_home(), ".cache"), "fastgru"), 0o700


def _home() -> str:
    """Return the home folder, as `pathlib.Path.home` does; pathlib takes 3 ms to import."""
    home = os.path.expanduser("~")
    if home.startswith("~"):
        raise RuntimeError("Could not determine home directory.")
    return home


@functools.cache
def source_hash() -> str:
    """Return a hash of all sources of compiled code."""
    with contextlib.suppress(OSError), open(os.path.join(PREBUILT, "sources"), "rb") as file:
        return file.read().decode().strip()
    return _hash_of_files()


def _hash_of_files() -> str:
    root = os.path.dirname(os.path.dirname(__file__))
    digest = _blake2b()
    for name in _SOURCES:
        for path in _python_files(os.path.join(root, name)):
            with open(path, "rb") as file:
                called = path[len(root) + 1 :].replace(os.sep, "/")
                digest.update(called.encode() + b"\0" + file.read() + b"\0")
    return str(digest.hexdigest()[:16])


def mark_of(function: Callable[..., Any]) -> str | None:
    """Return a hash of the sources of a function outside this package; "" for one inside, None for one in no file.

    The sources are the function's file, and the files in its folder, or below it, that these files import.
    """
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    path = os.path.abspath(function.__code__.co_filename)
    if path.startswith(root + os.sep):
        return ""
    folder, sources, waiting = os.path.dirname(path), dict[str, bytes](), [(path, function.__module__)]
    try:
        for each, module in waiting:  # which grows
            if each in sources or each.startswith(root + os.sep):
                continue
            with open(each, "rb") as file:
                sources[each] = file.read()
            for name in _imported(sources[each], module):
                found = os.path.abspath(getattr(sys.modules.get(name), "__file__", None) or os.sep)
                if found.startswith(folder + os.sep) and "-packages" + os.sep not in found[len(folder) :]:
                    waiting.append((found, name))
    except (OSError, SyntaxError, ValueError):
        return None
    digest = _blake2b()
    for _, source in sorted(sources.items()):
        digest.update(source + b"\0")
    return str(digest.hexdigest()[:16])


def _imported(source: bytes, module: str) -> list[str]:
    """Return the names of the modules that a source may import, and of the packages around them."""
    ast, found = late("ast"), list[str]()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = module.rsplit(".", node.level)[0] if node.level else ""
            base = ".".join(filter(None, (base, node.module)))
            found += [base, *(f"{base}.{alias.name}" for alias in node.names)]
    return found


def _python_files(path: str) -> list[str]:
    """Return the file itself, or the .py files of a folder, in order."""
    if path.endswith(".py"):
        return [path]
    with os.scandir(path) as entries:
        found = sorted([entry.path for entry in entries if entry.name.endswith(".py") or entry.is_dir()])
    return [file for each in found for file in _python_files(each)]


def _blake2b() -> Any:
    """Return a hash without importing hashlib, which would load OpenSSL: 3 ms of a start."""
    try:
        return late("_blake2").blake2b()
    except ImportError:  # this Python is built without it
        return late("hashlib").blake2b()


@functools.cache
def _key(target: Target) -> str:
    """Return the name of a target's folder."""
    if not TUNED:
        return f"{target.name}-{source_hash()}"
    name, features = host_cpu()
    return f"{target.name}-{name}-{late('hashlib').sha256((source_hash() + features).encode()).hexdigest()[:16]}"


@functools.cache
def _place(target: Target) -> tuple[str, int]:
    try:
        folder, mode = _user_folder()
    except RuntimeError as error:
        raise FileNotFoundError(None, f"there is no home folder ({error})") from None
    return os.path.abspath(os.path.join(folder, _key(target))), mode


def home(uses: tuple[str, ...]) -> Target:
    """Return the level for which code of this process is built and kept, by the features that the code uses."""
    return TARGET if TUNED else TARGET.home(uses)


def cache_folder(uses: tuple[str, ...] = ()) -> str:
    """Return the folder of entries that use these features, which may not exist. Raises `OSError` without a home."""
    return _place(home(uses))[0]


def read(name: str) -> Entry | None:
    """Return the entry of that name, from the package or the cache; None if neither has a valid one for this target."""
    return _first(name, _of_package) or read_kept(name)


def read_kept(name: str) -> Entry | None:
    """Return the entry of that name from the cache only; None if it has no valid one that is safe from other users."""
    return _first(name, _of_user)


def _first(name: str, content: Callable[[Target, str], bytes]) -> Entry | None:
    for target in (TARGET,) if TUNED else TARGET.levels:
        try:
            entry = _parsed(target, name, content(target, name + _SUFFIX))
        except UntrustedError as error:
            _tell_unused(error)
            continue
        except OSError:
            continue
        if entry is not None and TARGET.agrees(target, entry.uses):
            return entry
    return None


def _of_package(target: Target, name: str) -> bytes:
    with open(os.path.join(PREBUILT, _key(target), name), "rb") as file:
        return file.read()


def _of_user(target: Target, name: str) -> bytes:
    with open_folder(_place(target)[0]) as folder:
        return folder.read(name, _MOST_BYTES)


def _checksum(body: bytes) -> bytes:
    return f"{binascii.crc32(body):0{_CHECKSUM}x}".encode()


def _parsed(target: Target, name: str, data: bytes) -> Entry | None:
    start = len(_MAGIC) + _CHECKSUM
    body = data[start:]
    if data[:start] != _MAGIC + _checksum(body):
        return None
    head, _, code = body.partition(b"\n")
    # All strings of the JSON object are names without quotes, so it can be read without importing json.
    texts = head.decode(errors="replace").split('"')[1::2]
    if texts[:5] != ["name", name, "key", _key(target), "symbol"] or texts[6:7] != ["microkernels"]:
        return None
    uses = texts.index("uses", 7) if "uses" in texts[7:] else len(texts)
    return Entry(texts[5], tuple(texts[7:uses]), tuple(texts[uses + 1 :]), code)


def packed(name: str, entry: Entry) -> bytes:
    """Return the content of an entry's file."""
    head = {"name": name, "key": _key(home(entry.uses)), **entry._asdict()}
    del head["code"]
    body: bytes = late("json").dumps(head).encode() + b"\n" + entry.code
    return _MAGIC + _checksum(body) + body


def unpacked(name: str, data: bytes) -> Entry | None:
    """Return the entry that another process has packed; None if it is damaged or comes from other sources."""
    return _first(name, lambda target, file: data)


def write(name: str, entry: Entry) -> None:
    """Write an entry for other processes, whole or not at all, if its folder can be written and trusted."""
    try:
        place, mode = _place(home(entry.uses))
        with open_folder(place, make=mode) as folder:
            folder.write(name + _SUFFIX, packed(name, entry))
            if place not in _swept:
                _swept.add(place)
                folder.sweep()
    except OSError as error:
        _tell_unused(error)


def _fault(error: OSError) -> str:
    if isinstance(error, UntrustedError):
        return str(error)
    where = ""
    with contextlib.suppress(OSError):  # the working folder may be gone, and the path relative to it
        where = "" if error.errno is None else f"{cache_folder()}: "
    return f"{where}{error.strerror or error}"


def _tell_unused(error: OSError) -> None:
    """Say, once in a process and not under `FASTGRU_QUIET`, why the cache is not used, and what the user can do."""
    global _told_unused
    if not _told_unused:
        _told_unused = True
        say(
            f"fastgru: the cache of kernels cannot be used, so this process compiles what it needs: {_fault(error)};"
            " FASTGRU_CACHE_DIR names another folder"
        )


_told_unused = False
_swept: set[str] = set()


def compilations(total: int = 1) -> contextlib.AbstractContextManager[Progress]:
    """Return a context for `total` compilations. It reports them if they take long, and says if they are kept."""
    cache = describe()
    is_kept = cache["writable"] and not cache["problem"]
    what = f"compiling kernels for {host_cpu()[0] if TUNED else TARGET.short}"
    more = "; later processes load them from there" if is_kept else ""
    return telling(what + " into the cache" * is_kept, total, more)


def _prebuilt_entries() -> int:
    """Return the number of entries that the package has for this process."""
    count = 0
    for target in TARGET.levels:
        with contextlib.suppress(OSError):
            count += sum(name.endswith(_SUFFIX) for name in os.listdir(os.path.join(PREBUILT, _key(target))))
    return count


def describe() -> dict[str, Any]:
    """Return what `fastgru doctor` prints about the cache. "problem": why the cache or an entry is not used, or ""."""
    found: dict[str, Any] = {"directory": "", "folders": [], "writable": False, "entries": 0, "bytes": 0, "problem": ""}
    found["prebuilt"] = _prebuilt_entries()
    levels = (TARGET,) if TUNED else TARGET.levels
    try:
        found["directory"] = os.path.dirname(cache_folder())
        for target in levels:
            place, mode = _place(target)
            if target != levels[0] and not os.path.isdir(place):
                continue
            with open_folder(place, make=mode) as folder:
                found["folders"].append(os.path.basename(place))
                found["writable"] = os.access(folder.path, os.W_OK)
                for size, fault in folder.files(_SUFFIX):
                    found["entries"] += 1
                    found["bytes"] += size
                    found["problem"] = found["problem"] or fault
    except OSError as error:
        found["problem"] = _fault(error)
    return found
