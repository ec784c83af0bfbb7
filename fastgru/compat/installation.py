"""Our interface under the name of the package that it is an interface of."""

import importlib
import pkgutil
import sys
from typing import Final

from fastgru.errors import FastGRUError

__all__ = ["install"]

_PACKAGES: Final = ("onnxruntime",)


def install(name: str = "onnxruntime") -> None:
    """From now on, `import onnxruntime` in this process imports `fastgru.compat.onnxruntime`.

    Call it before anything imports onnxruntime, in the first lines of a program: what was imported before keeps the
    package that it has. Modules of onnxruntime that are not here (`tools`, `quantization`, `transformers`) are then
    not to be found.

    Raises `FastGRUError` where the package itself was imported already, or `name` is of none that there is here.
    """
    if name not in _PACKAGES:
        raise FastGRUError(f"there is no interface of {name!r}, only of {', '.join(_PACKAGES)}")
    ours = importlib.import_module(f"fastgru.compat.{name}")
    if sys.modules.get(name, ours) is not ours:
        raise FastGRUError(
            f"{name} itself was imported already; call fastgru.compat.install() before anything imports it"
        )
    for found in pkgutil.walk_packages(ours.__path__, f"{ours.__name__}."):
        module = importlib.import_module(found.name)
        sys.modules[name + found.name.removeprefix(ours.__name__)] = module
    sys.modules[name] = ours
