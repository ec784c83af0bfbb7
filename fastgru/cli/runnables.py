"""What runs the calls of a model: its programs need the kernels that `warmup` and `build` compile."""

from collections.abc import Iterator

from fastgru.engine import Runnable
from fastgru.errors import FastGRUError
from fastgru.model import Model

__all__ = ["runnables"]


def runnables(model: Model) -> Iterator[Runnable]:
    """Yield what runs single calls, and what runs the batches of `predict`, if the model has any."""
    yield model._runnable
    try:
        predictor = model.predictor
    except FastGRUError:
        return
    yield predictor.runnable
