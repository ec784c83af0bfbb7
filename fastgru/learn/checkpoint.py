"""Checkpoints: files with everything that a fit keeps between two steps, so that it can continue later."""

import hashlib
import json
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from fastgru.arrays import Array
from fastgru.errors import InvalidModelError, StateError
from fastgru.graphfile import write_whole
from fastgru.tensorfile import read_tensor_file, tensor_file_chunks

__all__ = ["fingerprint", "read_checkpoint", "write_checkpoint"]


def fingerprint(settings: Mapping[str, Any], arrays: Mapping[str, Array | None]) -> str:
    """Return a hash of what defines a fit: its settings, its data, and the weights that it began with."""
    found = hashlib.sha256(json.dumps(settings, sort_keys=True, default=repr).encode())
    for name, a in arrays.items():
        found.update(f"{name} {None if a is None else (a.dtype.str, a.shape)}".encode())
        found.update(b"" if a is None else np.ascontiguousarray(a).tobytes())
    return found.hexdigest()


def write_checkpoint(path: str | PathLike[str], arrays: Mapping[str, Array], facts: Mapping[str, Any]) -> None:
    """Write a checkpoint completely or not at all. An older file at this path stays until the new one is complete."""
    write_whole(tensor_file_chunks(arrays, {"fit": json.dumps(facts)}), path, ".safetensors")


def read_checkpoint(path: str | PathLike[str], expected: str) -> tuple[dict[str, Array], dict[str, Any]] | None:
    """Return what `write_checkpoint` wrote, None if there is no file. expected: the fingerprint of this fit.

    Raises `StateError` for a damaged file, or one from a fit with other settings, data or weights.
    """
    if not Path(path).exists():
        return None
    try:
        file = read_tensor_file(path)
        facts = json.loads(file.metadata["fit"])
        found = facts["fingerprint"]
    except (InvalidModelError, KeyError, TypeError, ValueError) as error:
        raise StateError(f"checkpoint {str(path)!r}: the file is damaged, or not from a fit ({error})") from None
    if found != expected:
        raise StateError(
            f"checkpoint {str(path)!r}: the file is from a fit with other settings, data or weights; remove the file to"
            " start again, or pass what that fit was started with"
        )
    return {name: np.array(a) for name, a in file.tensors.items()}, facts
