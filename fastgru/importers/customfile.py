"""Custom objects from a file, for the command line and the server: descriptions, or Python code that is run."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fastgru.errors import FastGRUError, InvalidModelError

__all__ = ["read_custom_objects"]


def read_custom_objects(path: Path) -> Mapping[str, Any]:
    """Run a Python file and return its dict `custom_objects`, or read a YAML or JSON file of descriptions by name.

    Raises `InvalidModelError` if the file has no such dict or its code raises an error.
    """
    if path.suffix.lower() != ".py":
        from fastgru.importers.architecture.description import read_text

        found, _ = read_text(path)
    else:
        import runpy

        try:
            found = runpy.run_path(str(path)).get("custom_objects")
        except FastGRUError:
            raise
        except Exception as error:  # the caller's code may raise anything
            raise InvalidModelError(f"{path}: running the file raised {type(error).__name__}: {error}") from error
    if not isinstance(found, Mapping):
        what = "the dict custom_objects" if path.suffix.lower() == ".py" else "descriptions of layers by name"
        raise InvalidModelError(f"{path}: got {'nothing' if found is None else type(found).__name__}, expected {what}")
    return found
