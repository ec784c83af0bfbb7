"""The last part of error messages about wrong types: it says what an object is and what to do with it.

Objects of other packages are recognised by the names of their classes; those packages are not imported.
"""

from collections.abc import Mapping
from typing import Final

__all__ = ["is_table", "way_of_file", "way_round"]

_EXPORT: Final = (
    "export the module by torch.onnx.export and load that file, or give its state_dict() to fastgru.GRU.from_torch or"
    " fastgru.from_architecture"
)
_WRITE: Final = "write the model by its save('model.keras'), and load that file"
_RUNS: Final = "it runs as it is, and its save(path) writes a file"

# The package of a class and the name of the class or of one of its bases, with what to do.
_CLASSES: Final = {
    ("fastgru", "Layer"): _RUNS,
    ("fastgru", "Model"): _RUNS,
    ("fastgru", "Graph"): "fastgru.Model(graph) runs it",
    ("torch", "Module"): _EXPORT,
    ("torch", "ScriptModule"): _EXPORT,
    ("torch", "Tensor"): "give it as tensor.detach().cpu().numpy(), one of bfloat16 as tensor.float() before",
    ("keras", "Model"): _WRITE,
    ("tf_keras", "Model"): _WRITE,
    ("tensorflow", "Model"): _WRITE,
    ("tensorflow", "Tensor"): "give it as tensor.numpy()",
    ("onnx", "ModelProto"): "give its SerializeToString()",
    ("onnxruntime", "InferenceSession"): "give the path of the file that it was made from",
    ("pandas", "DataFrame"): "give its columns of numbers as frame[columns].to_numpy(np.float32)",
    ("pandas", "Series"): "give it as series.to_numpy(np.float32)",
}


def is_table(value: object) -> bool:
    """Return True for a DataFrame of pandas or polars."""
    kinds = {(base.__module__.partition(".")[0], base.__name__) for base in type(value).__mro__}
    return not kinds.isdisjoint({("pandas", "DataFrame"), ("polars", "DataFrame")})


def way_round(value: object) -> str:
    """Return ": " and what to do with the value, or "" if its class is unknown."""
    if isinstance(value, type):
        return f": {value.__name__} is a class: give an object of it, {value.__name__}(...)"
    for base in type(value).__mro__:
        if way := _CLASSES.get((base.__module__.partition(".")[0], base.__name__)):
            return f": {way}"
    return ""


def way_of_file(value: object) -> str:
    """Return the same for a value that was given in place of a file."""
    if way := way_round(value):
        return way
    if isinstance(value, Mapping):
        return (
            ": weights by name go to fastgru.GRU.from_torch(weights, prefix), or with a description of the network to"
            " fastgru.from_architecture"
        )
    if callable(getattr(value, "read", None)):
        return ": give the path of the file, or what its read() gives"
    return ": give one file at a time" if isinstance(value, list | tuple | set) else ""
