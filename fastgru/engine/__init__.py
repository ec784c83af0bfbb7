"""Graph to program: passes, planning, and the object that runs one program a shape. See `engine.executable`."""

from fastgru.engine.executable import PRECISIONS, Executable
from fastgru.engine.partition import Pieces, foreign_nodes

__all__ = ["PRECISIONS", "Executable", "Pieces", "foreign_nodes"]
