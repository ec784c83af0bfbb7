"""Models: a graph with names, ready to run."""

from fastgru.model.model import Model

__all__ = ["Model"]
