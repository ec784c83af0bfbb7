"""The command line. One module a command; each is imported when it is called, and its heavy imports when it runs."""

from fastgru.cli.group import main

__all__ = ["main"]
