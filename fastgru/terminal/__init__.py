"""Helpers for everything that prints: consoles, tables that fit the terminal, progress bars, numbers with units."""

from fastgru.terminal.consoles import is_quiet, print_facts, printing, say, stderr, stdout
from fastgru.terminal.progress import progress
from fastgru.terminal.tables import FittedTable, legend, plain_table, shorten
from fastgru.terminal.words import bars, bytes_of, counted, kernels_used, time_of, version_of

__all__ = [
    "FittedTable",
    "bars",
    "bytes_of",
    "counted",
    "is_quiet",
    "kernels_used",
    "legend",
    "plain_table",
    "print_facts",
    "printing",
    "progress",
    "say",
    "shorten",
    "stderr",
    "stdout",
    "time_of",
    "version_of",
]
