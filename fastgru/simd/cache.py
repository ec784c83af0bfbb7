"""Where compiled kernels are kept, and when they are stale.

An entry is a file of its own: a checksum, a line of JSON that says what it is, and object code. It lies in the folder
of the lowest level that agrees with the target in what the entry's code uses (`Target.home`), so that levels share what
is the same for them.
The name of a folder is that of the target and a hash of the package's sources; under `FASTGRU_TUNE=native` it has the
CPU and its features as well, and shares nothing. A stale folder is simply another one. The versions of Python, Numba
and llvmlite are no part of it: they make code, and it needs none of them to run. `FASTGRU_CACHE_DIR` moves all folders.
One that can be read but not written is used as it is: what it lacks is compiled anew in each process. An entry that is
damaged, not of its folder, or open to changes by others (`simd.trusted`) is as good as none.

A wheel for a platform brings such folders along (`fastgru/prebuilt`, which `tools/build_wheels` fills), and a file
`sources` with the hash of the sources that they were built from, which are the wheel's own. They are looked at first,
and trusted as the package's sources are.
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
    "PREBUILT", "Entry", "cache_folder", "compilations", "describe", "home", "packed", "read", "read_kept",
    "source_hash", "unpacked", "write",
]  # fmt: skip

PREBUILT: Final = os.path.join(os.path.dirname(os.path.dirname(__file__)), "prebuilt")

# Whatever ends up inside compiled code stands in these folders and files.
_SOURCES = ("simd", "kernels", "process.py")

_MAGIC: Final = b"fastgru object 4\n"
_SUFFIX: Final = ".fgo"
_CHECKSUM: Final = 32  # digits of binascii.crc32, against damage; what others may change is not read at all
_MOST_BYTES: Final = 1 << 26


class Entry(NamedTuple):
    """Object code, its one symbol, the microkernels that it calls (`kernels.table`), and the `target.FEATURES` that it
    depends on."""

    symbol: str
    microkernels: tuple[str, ...]
    uses: tuple[str, ...]
    code: bytes


def _user_folder() -> tuple[str, int]:
    """Where, and the mode of what has to be made for it. Raises `RuntimeError` where there is no home."""
    if configured := os.environ.get("FASTGRU_CACHE_DIR"):
        return configured, 0o755
    if sys.platform == "darwin":
        return os.path.join(_home(), "Library", "Caches", "fastgru"), 0o700
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA") or os.path.join(_home(), "AppData", "Local")
        return os.path.join(local, "fastgru", "cache"), 0o700
    return os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.join(_home(), ".cache"), "fastgru"), 0o700


def _home() -> str:
    """As `pathlib.Path.home` has it, which takes 3 ms to import."""
    home = os.path.expanduser("~")
    if home.startswith("~"):
        raise RuntimeError("Could not determine home directory.")
    return home


@functools.cache
def source_hash() -> str:
    """A hash of all that compiled code is made of."""
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


def _python_files(path: str) -> list[str]:
    """The file, or those of a folder, in order."""
    if path.endswith(".py"):
        return [path]
    with os.scandir(path) as entries:
        found = sorted([entry.path for entry in entries if entry.name.endswith(".py") or entry.is_dir()])
    return [file for each in found for file in _python_files(each)]


def _blake2b() -> Any:
    """As hashlib has it, which loads OpenSSL to begin with: 3 ms of a start."""
    try:
        return late("_blake2").blake2b()
    except ImportError:  # of a Python that is built without it
        return late("hashlib").blake2b()


@functools.cache
def _key(target: Target) -> str:
    """The name of a target's folder."""
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
    """The level that code of this process is built for and kept at, by what it uses."""
    return TARGET if TUNED else TARGET.home(uses)


def cache_folder(uses: tuple[str, ...] = ()) -> str:
    """The folder of entries that use these features, there or not; `OSError` where no place is known for it."""
    return _place(home(uses))[0]


def read(name: str) -> Entry | None:
    """The entry of that name, of the package or kept; None where there is none that is whole and for this target."""
    return _first(name, _of_package) or read_kept(name)


def read_kept(name: str) -> Entry | None:
    """The same of what processes have compiled and kept, where it is safe from others."""
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
    # The texts of the object: names, none of which has a quote, by which it is read without the module json.
    texts = head.decode(errors="replace").split('"')[1::2]
    if texts[:5] != ["name", name, "key", _key(target), "symbol"] or texts[6:7] != ["microkernels"]:
        return None
    uses = texts.index("uses", 7) if "uses" in texts[7:] else len(texts)
    return Entry(texts[5], tuple(texts[7:uses]), tuple(texts[uses + 1 :]), code)


def packed(name: str, entry: Entry) -> bytes:
    """The content of an entry's file."""
    head = {"name": name, "key": _key(home(entry.uses)), **entry._asdict()}
    del head["code"]
    body: bytes = late("json").dumps(head).encode() + b"\n" + entry.code
    return _MAGIC + _checksum(body) + body


def unpacked(name: str, data: bytes) -> Entry | None:
    """The inverse, of another process of this package; None where it is damaged, or the sources have changed since."""
    return _first(name, lambda target, file: data)


def write(name: str, entry: Entry) -> None:
    """Keep an entry for other processes, if its folder can be written and trusted: all of it or nothing."""
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
    with contextlib.suppress(OSError):  # the folder that a relative one is in may be gone
        where = "" if error.errno is None else f"{cache_folder()}: "
    return f"{where}{error.strerror or error}"


def _tell_unused(error: OSError) -> None:
    """Once in a process, and not under `FASTGRU_QUIET`: what is not kept or not run, and the way round."""
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
    """Around so many compilations: what is said of them where they take long, and whether they are kept."""
    cache = describe()
    is_kept = cache["writable"] and not cache["problem"]
    what = f"compiling kernels for {host_cpu()[0] if TUNED else TARGET.short}"
    more = "; later processes load them from there" if is_kept else ""
    return telling(what + " into the cache" * is_kept, total, more)


def _prebuilt_entries() -> int:
    """How many the package has for this process."""
    count = 0
    for target in TARGET.levels:
        with contextlib.suppress(OSError):
            count += sum(name.endswith(_SUFFIX) for name in os.listdir(os.path.join(PREBUILT, _key(target))))
    return count


def describe() -> dict[str, Any]:
    """What `fastgru doctor` prints of the cache; "problem" says why it, or an entry of it, is not used, if so."""
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
