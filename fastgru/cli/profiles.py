"""What `inspect --profile` shows: a model loaded and run on random numbers, instruction by instruction."""

from pathlib import Path
from typing import Any

import numpy as np

from fastgru.errors import UnsupportedModelError
from fastgru.load import load

__all__ = ["instructions"]


def instructions(file: Path, precision: str | None, options: dict[str, Any]) -> list[dict[str, Any]]:
    """node, kernel and seconds of every instruction, in order. Raises what `fastgru.load` and the model raise."""
    model = load(file, precision=precision, **options)
    random = np.random.default_rng(0)
    inputs = {}
    for spec in model.inputs:
        if spec.shape is None:
            raise UnsupportedModelError(f"--profile: the file does not say how many axes input {spec.name!r} has")
        shape = tuple(1 if n is None else n for n in spec.shape)
        if spec.dtype.startswith("float"):
            inputs[spec.name] = random.standard_normal(shape).astype(spec.dtype)
        else:
            inputs[spec.name] = np.ones(shape, spec.dtype)  # a position, or a length, of the smallest axis
    return [{"node": t.label, "kernel": t.handler, "seconds": t.seconds} for t in model.profile(inputs)]
