"""Turns a graph into programs, one for each shape, and runs them: passes and planning. See `engine.runnable`."""

from fastgru.engine.executable import Executable
from fastgru.engine.partition import foreign_nodes, make_runnable
from fastgru.engine.runnable import Runnable

__all__ = ["Executable", "Runnable", "foreign_nodes", "make_runnable"]
