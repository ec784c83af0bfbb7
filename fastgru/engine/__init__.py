"""Simplify a graph by passes, plan a program for each combination of shapes, and run the programs.

See `engine.runnable`.
"""

from fastgru.engine.executable import Executable
from fastgru.engine.partition import foreign_nodes, make_runnable
from fastgru.engine.runnable import Runnable

__all__ = ["Executable", "Runnable", "foreign_nodes", "make_runnable"]
