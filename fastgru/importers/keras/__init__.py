"""Whole Keras models, of every generation, without Keras."""

from fastgru.importers.keras.container import find_configuration
from fastgru.importers.keras.reader import read_keras
from fastgru.modules import import_all

__all__ = ["find_configuration", "read_keras"]

for _folder in ("layers", "ops"):
    import_all(f"fastgru.importers.keras.{_folder}")
