"""Reads weights of every format.

The arrays of HDF5 files and Keras archives are named by their paths and keep Keras's conventions;
`fastgru.importers.keras` reads whole Keras models.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Final

from fastgru.arrays import Array
from fastgru.errors import InvalidModelError, UnsupportedModelError
from fastgru.importers.archive import Archive
from fastgru.importers.files import FORMATS, detect_format
from fastgru.importers.hdf5 import Hdf5
from fastgru.importers.weights.fold import fold_reparametrised
from fastgru.importers.weights.json_state import read_json_state
from fastgru.importers.weights.mapping import Weights
from fastgru.importers.weights.nested import StateDict
from fastgru.importers.weights.npz_state import read_npz_state
from fastgru.importers.weights.torch_file import read_torch_legacy, read_torch_zip
from fastgru.sources import Content, Source, opened
from fastgru.tensorfile import read_tensor_file

__all__ = ["read_weights"]

# Prefixes that DistributedDataParallel, DataParallel and torch.compile add to every name of a model.
_WRAPPERS: Final = ("module.", "_orig_mod.")
# Libraries that pack weights, each with suffixes of tensor names; a file with all of the suffixes has such weights.
_MARKS: Final = (
    ("bitsandbytes (8 bits)", (".SCB",)),
    ("bitsandbytes (4 bits)", (".absmax", ".quant_map")),
    ("GPTQ", (".qweight", ".qzeros", ".g_idx")),
    ("AWQ", (".qweight", ".qzeros", ".scales")),
    ("quanto", (".weight._data", ".weight._scale")),
    ("compressed-tensors", (".weight_packed", ".weight_scale")),
)


def read_weights(source: Source, *, format: str | None = None, key: str | None = None) -> Weights:  # noqa: A002
    """Read every tensor of a file, as read-only arrays by name.

    source: the path or the bytes of a file: PyTorch (`.pt .pth .tar .bin`, except the tar files of its oldest
        versions), safetensors, `.npz`, a JSON state dict, `.h5` or `.keras`. The format is found from the content.
    format: if given, the only format to accept: "torch-zip", "torch-legacy", "safetensors", "npz", "json", "hdf5" or
        "keras".
    key: for a PyTorch or JSON checkpoint with several dicts of tensors, the dotted path of the dict to read. None takes
        the only dict whose tensors are named like parameters. Callbacks, optimizers and averaged copies do not count.

    Arrays keep the dtype of the file (bfloat16 as `ml_dtypes.bfloat16`; JSON becomes float64) and have memory of their
    own, so later changes of the file do not affect them. A prefix `module.` or `_orig_mod.` that all names share is
    removed. Weights that PyTorch's weight_norm, spectral_norm and pruning split are put together again, under their
    original names, in float32 or float64. Objects of unknown classes are skipped (`Weights.passed_over` names them).

    Raises `AmbiguousStateDictError` if several dicts may be meant; `InvalidModelError` for a damaged or hostile file;
    `UnsupportedModelError`, with a workaround, for pickled code and for dtypes and forms that are not read;
    `FileNotFoundError` and `PermissionError`.
    """
    with opened(source) as content:
        return _read(content, format, key)


def _read(source: Content, format: str | None, key: str | None) -> Weights:  # noqa: A002
    name, found = source.name, detect_format(source)
    if format is not None and format not in (*_FLAT, *_NESTED):
        raise InvalidModelError(f"format is {format!r}, expected one of {', '.join(sorted((*_FLAT, *_NESTED)))}")
    if format not in (None, found):
        raise InvalidModelError(f"{name}: the content is {FORMATS[found]}, expected format {format!r}")
    if found in _NESTED:
        state = _NESTED[found](source, key)
    elif found not in _FLAT:
        raise UnsupportedModelError(f"{name}: this is {FORMATS[found]}, a whole model: load it with fastgru.load")
    elif key is not None:
        raise InvalidModelError(
            f"{name}: key={key!r} does not apply, because {FORMATS[found]} has no nested dicts: leave key out"
        )
    else:
        state = StateDict(_FLAT[found](source))
    _refuse_packed(state.tensors, name)
    tensors = fold_reparametrised(_unwrap(state.tensors), name)
    return Weights(tensors, source=name, form=found, key=state.key, others=state.others, passed_over=state.unknown)


def _hdf5(content: Content) -> Mapping[str, Array]:
    """Return every dataset by its path ("model_weights/gru/gru/kernel:0"), except those of an optimizer."""
    file = Hdf5(content)
    paths = [path for path in file.datasets if path.split("/")[0] not in ("optimizer", "optimizer_weights")]
    return {path: file.read(path) for path in paths}


def _keras(content: Content) -> Mapping[str, Array]:
    """Return the datasets of `model.weights.h5` inside a `.keras` archive."""
    archive = Archive(content)
    if (weights := archive.find("model.weights.h5")) is None:
        raise InvalidModelError(f"{content.name}: the Keras archive has no model.weights.h5")
    return _hdf5(archive.open(weights))


_FLAT: Final[Mapping[str, Callable[[Content], Mapping[str, Array]]]] = {
    "hdf5": _hdf5,
    "keras": _keras,
    "npz": read_npz_state,
    "safetensors": lambda content: read_tensor_file(content).tensors,
}
_NESTED: Final[Mapping[str, Callable[[Content, str | None], StateDict]]] = {
    "json": read_json_state,
    "torch-legacy": lambda content, key: read_torch_legacy(content).state_dict(key),
    "torch-zip": lambda content, key: read_torch_zip(content).state_dict(key),
}


def _refuse_packed(names: Collection[str], what: str) -> None:
    """Raise `UnsupportedModelError` if the names show that another library quantised and packed the weights."""
    for library, endings in _MARKS:
        found = [next((name for name in names if name.endswith(ending)), None) for ending in endings]
        if None not in found:
            shown = ", ".join(repr(name[:80]) for name in found if name is not None)
            raise UnsupportedModelError(
                f"{what}: the weights {shown} were quantised and packed by {library}, which is not read: save the state"
                " dict of the float model, and load it with precision='int8' for weights of 8 bits"
            )


def _unwrap(tensors: Mapping[str, Array]) -> Mapping[str, Array]:
    for _ in _WRAPPERS:
        for prefix in _WRAPPERS:
            if tensors and all(name.startswith(prefix) for name in tensors):
                tensors = {name.removeprefix(prefix): array for name, array in tensors.items()}
    return tensors
