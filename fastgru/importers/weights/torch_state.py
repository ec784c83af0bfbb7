"""The state dict of a PyTorch checkpoint as arrays."""

from collections.abc import Mapping
from typing import Any

from fastgru.arrays import Array
from fastgru.importers.weights.nested import choose_state_dict
from fastgru.importers.weights.torch_file import TorchFile, read_torch_legacy, read_torch_zip
from fastgru.importers.weights.torch_tensors import StoredTensor
from fastgru.sources import Source, opened

__all__ = ["read_torch_legacy_state", "read_torch_zip_state"]


def read_torch_zip_state(source: Source, key: str | None = None) -> Mapping[str, Array]:
    """Raises as `read_torch_zip` and `choose_state_dict`; storages of other dicts are not even read."""
    with opened(source) as content:
        return _arrays(read_torch_zip(content), key)


def read_torch_legacy_state(source: Source, key: str | None = None) -> Mapping[str, Array]:
    """Raises as `read_torch_legacy` and `choose_state_dict`."""
    with opened(source) as content:
        return _arrays(read_torch_legacy(content), key)


def _arrays(file: TorchFile, key: str | None) -> Mapping[str, Array]:
    chosen = choose_state_dict(file.value, key=key, name=file.name, is_tensor=_is_tensor, is_weight=_is_weight)
    return {label: file.array(tensor, label) for label, tensor in chosen.items()}


def _is_tensor(value: Any) -> bool:
    return isinstance(value, StoredTensor)


def _is_weight(value: Any) -> bool:
    return isinstance(value, StoredTensor) and value.is_parameter_like
