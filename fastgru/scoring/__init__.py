"""Runs a model over the sequences of a data set, and writes a table in parts that survive an interruption.

sources -> sequences -> `predict` -> parts -> one file. pyarrow reads and writes the tables; it is in the extra `data`.
"""

from fastgru.scoring.job import Scored, score

__all__ = ["Scored", "score"]
