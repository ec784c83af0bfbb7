"""A model over the sequences of a data set: tables and folders in, a table out, in parts that survive an interruption.

sources -> sequences -> `predict` -> parts -> one file. pyarrow reads and writes the tables; it is in the extra `data`.
"""

from fastgru.scoring.job import Scored, score

__all__ = ["Scored", "score"]
