"""Folders of modules that register themselves: imported as a whole, or each when a name of it is first asked for."""

import importlib
import pkgutil
from collections.abc import Callable, Hashable, Iterator, Mapping
from types import ModuleType
from typing import Any, Final, TypeVar

from fastgru.process import lock

__all__ = ["Families", "enter", "import_all"]

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

_OWNERS: Final[dict[tuple[int, Hashable], tuple[str, str]]] = {}


def import_all(package: str) -> tuple[ModuleType, ...]:
    """The modules of `package`, without those of its folders, in the order of their names."""
    path = importlib.import_module(package).__path__
    names = sorted(module.name for module in pkgutil.iter_modules(path) if not module.ispkg)
    return tuple(importlib.import_module(f"{package}.{name}") for name in names)


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
    there is found all the same: the whole folder is imported for it, as it is to tell what keys there are.
    """

    def __init__(self, package: str, entries: dict[K, V], homes: Mapping[K, str]) -> None:
        self.package, self.entries = package, entries
        self._homes, self._whole = homes, False
        self._known: dict[K, V] = {}  # of modules whose import has come to its end

    def __getitem__(self, key: K) -> V:
        if key not in self._known and not self._whole:
            with lock:
                if (home := self._homes.get(key)) is not None:
                    importlib.import_module(f"{self.package}.{home}")
                if home is None or key not in self.entries:
                    self._import_all()
                else:
                    self._known[key] = self.entries[key]
        return self._known[key]

    def __iter__(self) -> Iterator[K]:
        self._import_all()
        return iter(sorted(self._known))  # type: ignore[type-var]

    def __len__(self) -> int:
        self._import_all()
        return len(self._known)

    def _import_all(self) -> None:
        if not self._whole:
            with lock:
                import_all(self.package)
                self._known.update(self.entries)
                self._whole = True
