"""HDF5 and Keras archives as raw weights: paths to arrays, every convention of Keras left as it is.

Whole models of Keras, and its layers by name, are the business of `fastgru.importers.keras`.
"""

from collections.abc import Mapping

from fastgru.arrays import Array
from fastgru.errors import InvalidModelError
from fastgru.importers.archive import Archive
from fastgru.importers.hdf5 import Hdf5
from fastgru.sources import Source, opened

__all__ = ["read_hdf5_state", "read_keras_state"]


def read_hdf5_state(source: Source) -> Mapping[str, Array]:
    """Every dataset under its path ("model_weights/gru/gru/kernel:0"), but for those of an optimizer.

    Raises as `Hdf5`.
    """
    with opened(source) as content:
        file = Hdf5(content)
        paths = [path for path in file.datasets if path.split("/")[0] not in ("optimizer", "optimizer_weights")]
        return {path: file.read(path) for path in paths}


def read_keras_state(source: Source) -> Mapping[str, Array]:
    """The datasets of `model.weights.h5` inside a `.keras` archive; raises as `Archive` and `Hdf5`."""
    with opened(source) as content:
        archive, name = Archive(content), content.name
        if "model.weights.h5" not in archive:
            raise InvalidModelError(f"{name}: a Keras archive without model.weights.h5")
        return read_hdf5_state(archive.open("model.weights.h5"))
