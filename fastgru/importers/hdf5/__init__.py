"""HDF5 files, read by this package itself: no library is loaded, and nothing a file says can make it open another file.

    with opened(source) as content:
        file = Hdf5(content)
        file.datasets                       # path -> shape, for every dataset of the file
        file.read("model_weights/gru/kernel:0")
        file.text("/", "model_config")      # a string attribute, or None

What is read is what h5py writes for Keras, and a good deal around it: both forms of object headers, groups of symbol
tables and groups of links in the header, compact, contiguous and chunked datasets of numbers, deflate and shuffle. The
HDF5 library is not used, because damaged files make it crash, and no Python code can catch that.

Layout: "HDF5 File Format Specification Version 3.0", The HDF Group; section numbers in the comments are its.
"""

from fastgru.importers.hdf5.file import Hdf5

__all__ = ["Hdf5"]
