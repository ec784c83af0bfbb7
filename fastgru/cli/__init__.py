"""The command line. One module a command; each is imported when it is called, and its heavy imports when it runs."""

from __future__ import annotations

from fastgru.cli.group import main

__all__ = ["main"]
