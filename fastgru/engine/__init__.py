"""Simplifies a graph by passes, plans a program for each shape, and runs the programs. See `engine.runnable`."""

from fastgru.engine.executable import Executable
from fastgru.engine.partition import foreign_nodes, make_runnable
from fastgru.engine.runnable import Runnable

__all__ = ["Executable", "Runnable", "foreign_nodes", "make_runnable"]
