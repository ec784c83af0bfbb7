"""Graph to program: passes, planning, and the object that runs one program a shape. See `engine.executable`."""

from fastgru.engine.executable import PRECISIONS, Executable

__all__ = ["PRECISIONS", "Executable"]
