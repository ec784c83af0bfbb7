"""Reads HDF5 files without the HDF5 library; a file cannot make it open another file.

    with opened(source) as content:
        file = Hdf5(content)
        file.datasets                       # path -> shape of every dataset of the file
        file.read("model_weights/gru/kernel:0")
        file.text("/", "model_config")      # a string attribute, or None

It reads everything that h5py writes for Keras, and more: both versions of object headers, groups with symbol tables or
with links in the header, compact, contiguous and chunked datasets of numbers, deflate, shuffle and fletcher32. The HDF5
library is not used because damaged files make it crash, which Python code cannot catch.

Format: "HDF5 File Format Specification Version 3.0", The HDF Group. Section numbers in comments refer to it.
"""

from fastgru.importers.hdf5.file import Hdf5

__all__ = ["Hdf5"]
