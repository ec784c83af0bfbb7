"""A state dict in a safetensors file."""

from collections.abc import Mapping

from fastgru.arrays import Array
from fastgru.sources import Source
from fastgru.tensorfile import read_tensor_file

__all__ = ["read_safetensors_state"]


def read_safetensors_state(source: Source) -> Mapping[str, Array]:
    """The tensors in the order of the header, as views; of a model that this package saved, its constants.

    Raises as `read_tensor_file`.
    """
    return read_tensor_file(source).tensors
