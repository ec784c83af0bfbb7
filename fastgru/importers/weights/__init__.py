"""Reads weights from the files of all common frameworks, without these frameworks and without running code of a file.

with fastgru.read_weights("checkpoint.pt") as weights:          # leaving the block checks that all were read
    gru = fastgru.GRU.from_torch(weights, prefix="encoder.gru")
"""

from fastgru.importers.weights.find import FoundGRU, find_grus, refuse_state_dict
from fastgru.importers.weights.mapping import Weights
from fastgru.importers.weights.read import read_weights

__all__ = [
    "FoundGRU",
    "Weights",
    "find_grus",
    "read_weights",
    "refuse_state_dict",
]
