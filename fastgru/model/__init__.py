"""Models: a graph with names, run whole or as a stream."""

from fastgru.model.model import Model
from fastgru.model.stream import Stream

__all__ = ["Model", "Stream"]
