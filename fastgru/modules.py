"""Modules by name: those of a folder, which register themselves, and those that are imported when they are needed."""

import importlib
import pkgutil
from collections.abc import Callable, Hashable
from types import ModuleType
from typing import Any, Final, TypeVar

from fastgru.process import short_lock

__all__ = ["enter", "import_all", "late"]

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

_importing: Final = short_lock()
_OWNERS: Final[dict[tuple[int, Hashable], tuple[str, str]]] = {}


def import_all(package: str) -> tuple[ModuleType, ...]:
    """The modules of `package`, without those of its folders, in the order of their names."""
    path = importlib.import_module(package).__path__
    names = sorted(module.name for module in pkgutil.iter_modules(path) if not module.ispkg)
    return tuple(importlib.import_module(f"{package}.{name}") for name in names)


def late(name: str) -> Any:
    """A module of others that is imported when it is first needed, under a lock that forks wait for.

    A child that is forked in the middle of an import of another thread would wait for its end without end. Whoever has
    the package's lock, or is at work for him on another thread, may call this.
    """
    with _importing:
        return importlib.import_module(name)


def enter(table: dict[K, V], key: K, entry: V, function: Callable[..., Any]) -> None:
    """table[key] = entry, on behalf of `function`; no other function may have the key.

    The same one may, once more: where a signal's handler raises, an import ends in the middle and is made again.
    """
    plain = getattr(function, "func", function)  # of a partial
    owner = (plain.__module__, plain.__qualname__)
    assert _OWNERS.setdefault((id(table), key), owner) == owner, key
    table[key] = entry
