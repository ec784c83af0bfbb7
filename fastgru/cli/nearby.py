"""Suggests files for a path that does not exist."""

import os
from pathlib import Path
from typing import Any, Final

import click

from fastgru.nearest import nearest

__all__ = ["ModelPath", "near_files"]

_MODELS: Final = (".onnx", ".keras", ".h5", ".hdf5", ".json", ".safetensors", ".pt", ".pth", ".tar", ".bin", ".npz")
_MOST: Final = 1_000
_SHOWN: Final = 5


def near_files(path: Path) -> str:
    """Return "; did you mean models/a.onnx?", or the models in the folder, or "" if there are none."""
    folder = path if path.is_dir() else path.parent
    if not folder.is_dir():
        return f"; there is no folder {folder}"
    try:
        with os.scandir(folder) as found:
            names = sorted(entry.name for entry, _ in zip(found, range(_MOST), strict=False))
    except OSError:
        return ""
    if folder is not path and (close := nearest(path.name, names, most=3)):
        return f"; did you mean {' or '.join(str(folder / name) for name in close)}?"
    models = [str(folder / name) for name in names if name.lower().endswith(_MODELS)]
    more = ", ..." if len(models) > _SHOWN else ""
    where = "this folder" if folder == Path() else folder
    return f"; {where} has {', '.join(models[:_SHOWN])}{more}" if models else ""


class ModelPath(click.Path):
    """The path of an existing file, which shells complete as a path."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        path = Path(os.fsdecode(super().convert(value, param, ctx)))
        if not path.exists():
            self.fail(f"There is no file {str(path)!r}{near_files(path)}", param, ctx)
        if path.is_dir():
            self.fail(f"{str(path)!r} is a folder, and a file was expected{near_files(path)}", param, ctx)
        return path
