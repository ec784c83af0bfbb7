"""The named tensors of requests, with the datatypes of the Open Inference Protocol (KServe V2)."""

from typing import Final

import numpy as np

from fastgru.graph import TensorSpec
from fastgru.records import dataclass
from fastgru.serve.errors import ServeError

__all__ = ["DATATYPES", "Field", "dtype_of", "field_of"]

# The datatypes of the protocol that have a dtype here.
DATATYPES: Final = {
    "BOOL": np.dtype(np.bool_),
    "UINT8": np.dtype(np.uint8),
    "UINT16": np.dtype(np.uint16),
    "UINT32": np.dtype(np.uint32),
    "UINT64": np.dtype(np.uint64),
    "INT8": np.dtype(np.int8),
    "INT16": np.dtype(np.int16),
    "INT32": np.dtype(np.int32),
    "INT64": np.dtype(np.int64),
    "FP32": np.dtype(np.float32),
    "FP64": np.dtype(np.float64),
}
_NAMES: Final = {dtype: name for name, dtype in DATATYPES.items()}
_NOT_TAKEN: Final = ("BF16", "BYTES", "FP16")


@dataclass(frozen=True)
class Field:
    """An input or output of a model, as requests name it.

    shape: -1 for a free size, as the protocol writes it; None if the file of the model does not give the rank.
    """

    name: str
    datatype: str
    dtype: np.dtype[np.generic]
    shape: tuple[int, ...] | None


def field_of(spec: TensorSpec) -> Field:
    """Return the field of this input or output. Raises `KeyError` for a dtype that no datatype stands for."""
    dtype = np.dtype(spec.dtype)
    shape = None if spec.shape is None else tuple(-1 if n is None else n for n in spec.shape)
    return Field(spec.name, _NAMES[dtype], dtype, shape)


def dtype_of(datatype: str) -> np.dtype[np.generic]:
    """Return the dtype of a datatype of the protocol. Raises `ServeError`, 400, for one that is not accepted."""
    dtype = DATATYPES.get(datatype)
    if dtype is None:
        why = "no model takes it" if datatype in _NOT_TAKEN else "there is no such datatype"
        raise ServeError(
            400, f"datatype {datatype!r:.40}: {why}; expected one of {', '.join(DATATYPES)}", reason="datatype"
        )
    return dtype
