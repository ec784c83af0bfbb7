"""Imports modules by name: those of a folder, which register themselves, and modules that are imported on demand."""

import importlib
from collections.abc import Callable, Hashable, Iterator, Mapping
from types import ModuleType
from typing import Any, Final, TypeVar

from fastgru.process import short_lock

__all__ = ["Families", "enter", "import_all", "importing", "late"]

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

# Every import on demand happens under this lock, which a fork waits for: a child that is forked while another thread
# imports would wait for that import for ever. A thread that holds the package's lock, or works for one that does, may
# take it. Code that is executed while a module is imported must not take it, because the thread that holds it may be
# waiting for the end of that very import.
importing: Final = short_lock()
_OWNERS: Final[dict[tuple[int, Hashable], tuple[str, str]]] = {}


def import_all(package: str) -> tuple[ModuleType, ...]:
    """Import and return the modules of `package`, without its subpackages, in the order of their names."""
    import pkgutil

    path = importlib.import_module(package).__path__
    names = sorted(module.name for module in pkgutil.iter_modules(path) if not module.ispkg)
    return tuple(importlib.import_module(f"{package}.{name}") for name in names)


def late(name: str) -> Any:
    """Import a module of another package, under the lock `importing`."""
    with importing:
        return importlib.import_module(name)


def enter(table: dict[K, V], key: K, entry: V, function: Callable[..., Any]) -> None:
    """Set table[key] = entry, on behalf of `function`. Raises `ValueError` if another function has the key.

    The same function may set it again: if a signal handler raises, an import ends in the middle and is repeated.
    """
    plain = getattr(function, "func", function)  # if it is a partial
    owner = (plain.__module__, plain.__qualname__)
    if (first := _OWNERS.setdefault((id(table), key), owner)) != owner:
        raise _registered(key, ".".join(first), function)
    table[key] = entry


def _registered(key: Hashable, owner: str, function: Callable[..., Any]) -> ValueError:
    name = ":".join(filter(None, key)) if isinstance(key, tuple) else str(key)
    plain = getattr(function, "func", function)
    return ValueError(
        f"{name} is registered already, by {owner}, so {plain.__module__}.{plain.__qualname__} cannot register it again"
    )


class Families(Mapping[K, V]):
    """A table that the modules of a folder fill; each module is imported when one of its keys is first read.

    entries: the table that the modules fill. homes: the module that has each key. The whole folder is imported for a
    key that `homes` lacks, and to list the keys. Imports happen under `importing`, so no module may read a key while it
    is imported.
    """

    def __init__(self, package: str, entries: dict[K, V], homes: Mapping[K, str]) -> None:
        self.package, self.entries = package, entries
        self._homes, self._depth, self._whole = homes, 0, False
        self._known: set[K | None] = set()  # keys of modules whose import has ended

    def enter(self, key: K, entry: V, function: Callable[..., Any]) -> None:
        """Do the same as `enter`. Also raises `ValueError` for a key that a module of the folder has, imported or not.

        The package's own modules may take a key from another module, because `homes` may be older than the folder.
        """
        plain = getattr(function, "func", function)
        home = self._homes.get(key)
        if home is not None and key not in self.entries and not plain.__module__.startswith("fastgru."):
            raise _registered(key, f"{self.package}.{home}", function)
        enter(self.entries, key, entry, function)

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
        """Import the module of `key`, or all. An import that a signal handler interrupts does not count as done."""
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
