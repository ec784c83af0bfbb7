"""Reads whole models of Keras 1, 2 and 3, without Keras."""

from fastgru.importers.keras.container import find_configuration
from fastgru.importers.keras.reader import read_keras
from fastgru.modules import import_all

__all__ = ["find_configuration", "read_keras"]

for _folder in ("layers", "ops"):
    import_all(f"fastgru.importers.keras.{_folder}")
