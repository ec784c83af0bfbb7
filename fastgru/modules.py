"""Imports modules by name: those of a folder, which register themselves, and those that are imported on demand."""

import importlib
from collections.abc import Callable, Hashable, Iterator, Mapping
from types import ModuleType
from typing import Any, Final, TypeVar

from fastgru.process import short_lock

__all__ = ["Families", "enter", "import_all", "importing", "late"]

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

# Whatever is imported when it is first needed is imported under this lock, which forks wait for: a child that is forked
# in the middle of an import of another thread would wait for its end without end. Whoever has the package's lock, or is
# at work for him on another thread, may take it; what is executed while a module is imported must not, for the thread
# that has it may be waiting for the end of that very import.
importing: Final = short_lock()
_OWNERS: Final[dict[tuple[int, Hashable], tuple[str, str]]] = {}


def import_all(package: str) -> tuple[ModuleType, ...]:
    """The modules of `package`, without those of its folders, in the order of their names."""
    import pkgutil

    path = importlib.import_module(package).__path__
    names = sorted(module.name for module in pkgutil.iter_modules(path) if not module.ispkg)
    return tuple(importlib.import_module(f"{package}.{name}") for name in names)


def late(name: str) -> Any:
    """A module of others, imported under the lock `importing`."""
    with importing:
        return importlib.import_module(name)


def enter(table: dict[K, V], key: K, entry: V, function: Callable[..., Any]) -> None:
    """table[key] = entry, on behalf of `function`; no other function may have the key.

    The same one may, once more: where a signal's handler raises, an import ends in the middle and is made again.
    """
    plain = getattr(function, "func", function)  # of a partial
    owner = (plain.__module__, plain.__qualname__)
    assert _OWNERS.setdefault((id(table), key), owner) == owner, key
    table[key] = entry


class Families(Mapping[K, V]):
    """What the modules of a folder enter into a table; each is imported when one of its keys is first asked for.

    entries: the table that they enter it into. homes: the module of the folder that has a key. A key that is missing
    there is found all the same: the whole folder is imported for it, as it is to tell what keys there are. Imports are
    made under `importing`, so no module may ask for a key while it is imported.
    """

    def __init__(self, package: str, entries: dict[K, V], homes: Mapping[K, str]) -> None:
        self.package, self.entries = package, entries
        self._homes, self._depth, self._whole = homes, 0, False
        self._known: set[K | None] = set()  # keys of modules whose import has come to its end

    def __getitem__(self, key: K) -> V:
        self._import(key)
        return self.entries[key]

    def __iter__(self) -> Iterator[K]:
        self._import()
        return iter(sorted(self.entries))  # type: ignore[type-var]

    def __len__(self) -> int:
        self._import()
        return len(self.entries)

    def _import(self, key: K | None = None) -> None:
        """What has a key, or all. A signal handler that comes into the middle of an import keeps nothing as known."""
        if self._whole or key in self._known:
            return
        with importing:
            self._depth += 1
            try:
                if (home := None if key is None else self._homes.get(key)) is not None:
                    importlib.import_module(f"{self.package}.{home}")
                if whole := key is None or key not in self.entries:
                    import_all(self.package)
            finally:
                self._depth -= 1
            if self._depth == 0:
                self._known.add(key)
                self._whole = self._whole or whole
