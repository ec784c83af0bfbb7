"""The one function that reads every format of weights."""

from collections.abc import Callable, Mapping
from typing import Final

from fastgru.arrays import Array
from fastgru.errors import InvalidModelError, UnsupportedModelError
from fastgru.importers.files import FORMATS, detect_format
from fastgru.importers.weights.hdf5_state import read_hdf5_state, read_keras_state
from fastgru.importers.weights.json_state import read_json_state
from fastgru.importers.weights.mapping import Weights
from fastgru.importers.weights.npz_state import read_npz_state
from fastgru.importers.weights.packed import refuse_packed
from fastgru.importers.weights.safetensors_state import read_safetensors_state
from fastgru.importers.weights.torch_state import read_torch_legacy_state, read_torch_zip_state
from fastgru.sources import Content, Source, opened

__all__ = ["read_weights"]

_FLAT: Final[Mapping[str, Callable[[Source], Mapping[str, Array]]]] = {
    "hdf5": read_hdf5_state,
    "keras": read_keras_state,
    "npz": read_npz_state,
    "safetensors": read_safetensors_state,
}
_NESTED: Final[Mapping[str, Callable[[Source, str | None], Mapping[str, Array]]]] = {
    "json": read_json_state,
    "torch-legacy": read_torch_legacy_state,
    "torch-zip": read_torch_zip_state,
}

# What DistributedDataParallel, DataParallel and torch.compile put before every name of a model that they wrap.
_WRAPPERS: Final = ("module.", "_orig_mod.")


def read_weights(source: Source, *, format: str | None = None, key: str | None = None) -> Weights:  # noqa: A002
    """Every tensor of a file, as read-only arrays under their names.

    source: a path or bytes: PyTorch (`.pt .pth .tar .bin`, of any age that is not a tar), safetensors, `.npz`, JSON
        state dicts, `.h5` and `.keras`. What it is, is told by its content.
    format: insist on one of "torch-zip", "torch-legacy", "safetensors", "npz", "json", "hdf5", "keras".
    key: where a PyTorch or JSON checkpoint nests several dicts of tensors, the dotted path of the one to read. One
        alone ("model", "state_dict") is found; optimizers are passed over.

    Arrays keep the file's dtype (bfloat16 as `ml_dtypes.bfloat16`; JSON becomes float64), in memory of their own: what
    happens to the file afterwards does not reach them. A prefix `module.` or `_orig_mod.` that every name has is taken
    off.

    Raises `InvalidModelError` for a damaged or hostile file, `UnsupportedModelError` for pickled code, dtypes and forms
    that are not read, with the way round; `FileNotFoundError` and `PermissionError` as they come.
    """
    with opened(source) as content:
        return _read(content, format, key)


def _read(source: Content, format: str | None, key: str | None) -> Weights:  # noqa: A002
    name, found = source.name, detect_format(source)
    if format is not None and format not in (*_FLAT, *_NESTED):
        raise InvalidModelError(f"format {format!r} is not one of {', '.join(sorted((*_FLAT, *_NESTED)))}")
    if format not in (None, found):
        raise InvalidModelError(f"{name}: the content is {FORMATS[found]}, expected format {format!r}")
    if found in _NESTED:
        tensors = _NESTED[found](source, key)
    elif found not in _FLAT:
        raise UnsupportedModelError(f"{name}: this is {FORMATS[found]}, a whole model: load it with fastgru.load")
    elif key is not None:
        raise InvalidModelError(f"{name}: key={key!r} was given, but {FORMATS[found]} nests no dicts")
    else:
        tensors = _FLAT[found](source)
    refuse_packed(tensors, name)
    return Weights(_unwrap(tensors), source=name, form=found)


def _unwrap(tensors: Mapping[str, Array]) -> Mapping[str, Array]:
    for _ in _WRAPPERS:
        for prefix in _WRAPPERS:
            if tensors and all(name.startswith(prefix) for name in tensors):
                tensors = {name.removeprefix(prefix): array for name, array in tensors.items()}
    return tensors
