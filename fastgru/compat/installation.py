"""Installs one of our interfaces under the name of the package that it replaces."""

import importlib
import pkgutil
import sys
from typing import Final

from fastgru.errors import FastGRUError

__all__ = ["install"]

_PACKAGES: Final = ("onnxruntime",)


def install(name: str = "onnxruntime") -> None:
    """Make `import onnxruntime` import `fastgru.compat.onnxruntime` in this process.

    Call it in the first lines of a program, before anything imports onnxruntime. Code that has already imported
    onnxruntime keeps it. Modules of onnxruntime that fastgru does not have (`tools`, `quantization`, `transformers`)
    can no longer be imported.

    name: only "onnxruntime".

    Raises `FastGRUError` if onnxruntime has already been imported, and for another name.
    """
    if name not in _PACKAGES:
        raise FastGRUError(f"name is {name!r}, expected {', '.join(map(repr, _PACKAGES))}")
    ours = importlib.import_module(f"fastgru.compat.{name}")
    if sys.modules.get(name, ours) is not ours:
        raise FastGRUError(
            f"{name} has already been imported; call fastgru.compat.install() before anything imports {name}"
        )
    for found in pkgutil.walk_packages(ours.__path__, f"{ours.__name__}."):
        module = importlib.import_module(found.name)
        sys.modules[name + found.name.removeprefix(ours.__name__)] = module
    sys.modules[name] = ours
