"""The command line: one module for each command, which is imported when the command is called."""

from fastgru.cli.group import main

__all__ = ["main"]
