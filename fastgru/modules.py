"""Every module of a folder imported: what registers itself needs no list of its files."""

import importlib
import pkgutil
from types import ModuleType

__all__ = ["import_all"]


def import_all(package: str) -> tuple[ModuleType, ...]:
    """The modules of `package`, without those of its folders, in the order of their names."""
    path = importlib.import_module(package).__path__
    names = sorted(module.name for module in pkgutil.iter_modules(path) if not module.ispkg)
    return tuple(importlib.import_module(f"{package}.{name}") for name in names)
