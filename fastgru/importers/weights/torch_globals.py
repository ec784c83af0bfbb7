"""The table of the names that PyTorch checkpoints use, with the function that replaces each of them."""

import builtins
from collections.abc import Callable, Mapping
from typing import Any, Final

from fastgru.importers.weights.pickles import Global, Inert, plain_key
from fastgru.importers.weights.torch_tensors import DTYPES, STORAGES, StoredTensor, TorchStorage, tensor

__all__ = ["persistent_object", "torch_table"]

# All classes of builtins, exceptions included, but no functions.
_HARMLESS: Final = (
    "Ellipsis", "NotImplemented", "long", "unicode", "xrange",
    *(name for name, value in vars(builtins).items() if isinstance(value, type)),
)  # fmt: skip
# Harmless objects beside a state dict, such as settings, losses and random states. They become `Inert`.
_INERT: Final = (
    "_codecs.encode",
    "argparse.Namespace",
    "collections.deque",
    "datetime.date",
    "datetime.datetime",
    "datetime.timedelta",
    "numpy._core.multiarray._reconstruct",
    "numpy._core.multiarray.scalar",
    "numpy.core.multiarray._reconstruct",
    "numpy.core.multiarray.scalar",
    "numpy.dtype",
    "numpy.ndarray",
    "pathlib.Path",
    "pathlib.PosixPath",
    "pathlib.PurePosixPath",
    "pathlib.WindowsPath",
    "torch.Generator",
    "torch.Tensor",
    "torch.device",
    "torch.nn.parameter.Buffer",
    "torch.nn.parameter.Parameter",
    "types.SimpleNamespace",
    *(f"{module}.{kind}" for module in ("builtins", "__builtin__", "exceptions") for kind in _HARMLESS),
)


def torch_table(charge: Callable[[int], None]) -> Mapping[str, Callable[..., Any]]:
    """Return {qualified name: function}. charge: called with the number of elements that a call copies."""

    def ordered_dict(pairs: Any = ()) -> dict[Any, Any]:
        if not isinstance(pairs, list | tuple):
            raise TypeError(f"an OrderedDict is made from {type(pairs).__name__}")
        charge(len(pairs) + 1)
        return {plain_key(key): value for key, value in pairs}

    def plain_list(items: Any = ()) -> list[Any]:
        charge(len(items))
        return list(items)

    table: dict[str, Callable[..., Any]] = {name: _inert(name) for name in _INERT}
    for prefix in ("torch", "torch.cuda", "torch.storage"):
        table |= {f"{prefix}.{name}": _inert(name) for name in STORAGES}
    table |= {
        f"torch.{name}": _inert(name) for name in (*DTYPES, "complex64", "complex128", "float8_e4m3fn", "float8_e5m2")
    }
    for module in ("builtins", "__builtin__"):
        table |= {f"{module}.{kind}": plain_list for kind in ("set", "frozenset", "list")}
        table |= {f"{module}.bytearray": _inert("bytearray"), f"{module}.dict": ordered_dict}
    table |= {
        "collections.Counter": lambda counts=None: {},
        "collections.OrderedDict": ordered_dict,
        "collections.defaultdict": lambda factory=None: {},
        "copy_reg._reconstructor": _reconstructed,
        "copyreg._reconstructor": _reconstructed,
        "torch.Size": lambda sizes: sizes,
        "torch._tensor._rebuild_from_type_v2": _rebuild_from_type,
        "torch._utils._rebuild_parameter": _rebuild_parameter,
        "torch._utils._rebuild_parameter_with_state": _rebuild_parameter,
        "torch._utils._rebuild_tensor": tensor,
        "torch._utils._rebuild_tensor_v2": _rebuild_tensor_v2,
        "torch._utils._rebuild_tensor_v3": _rebuild_tensor_v3,
    }
    return table


def persistent_object(ident: Any) -> TorchStorage | Global:
    """('storage', class, key, location, size[, None or (view key, start, size)]) -> `TorchStorage`.

    ('module', class, path, source of the class), from the format before 1.6 -> the class's `Global`.
    """
    if isinstance(ident, tuple) and len(ident) == 4 and ident[0] == "module" and isinstance(ident[1], Global):
        return ident[1]
    if not isinstance(ident, tuple) or len(ident) not in (5, 6) or ident[0] != "storage":
        raise TypeError(
            "a persistent id does not name a storage; the file may be a whole module, saved by an old torch"
        )
    _, kind, key, _, size, *view = ident
    name = kind.name.rsplit(".", 1)[-1] if isinstance(kind, Global) else None
    if name not in STORAGES or not isinstance(key, str):
        raise TypeError(f"a storage has the unknown class {name}, under the key {str(key)[:40]!r}")
    start = 0
    if view and view[0] is not None:
        _, start, size = view[0]
    if any(type(n) is not int or not 0 <= n < 1 << 40 for n in (start, size)):
        raise ValueError("the size of a storage is not a number from 0 to 2^40")
    return TorchStorage(key, STORAGES[name], size, start)


def _inert(name: str) -> Callable[..., Inert]:
    return lambda *arguments: Inert(name)


def _reconstructed(kind: Any, base: Any, state: Any) -> Inert:
    return Inert(kind.name, state if isinstance(state, dict) else None)


def _rebuild_tensor_v2(
    storage: Any, offset: Any, shape: Any, strides: Any, requires_grad: Any, hooks: Any, metadata: Any = None
) -> StoredTensor | Inert:
    # metadata has the flags of conjugate and negative views, which would change the values.
    if metadata:
        return Inert("torch._utils._rebuild_tensor_v2 of a conjugated or negated view")
    return tensor(storage, offset, shape, strides)


def _rebuild_tensor_v3(
    storage: Any,
    offset: Any,
    shape: Any,
    strides: Any,
    requires_grad: Any,
    hooks: Any,
    dtype: Any,
    metadata: Any = None,
) -> StoredTensor | Inert:
    if metadata or not isinstance(dtype, Global):
        return Inert("torch._utils._rebuild_tensor_v3 with flags or an unknown dtype")
    return tensor(storage, offset, shape, strides, dtype.name.rsplit(".", 1)[-1])


def _rebuild_parameter(data: Any, *requires_grad_hooks_state: Any) -> StoredTensor | Inert:
    """Return the tensor of a parameter; an inert object, such as a sparse tensor, is returned as it is."""
    if not isinstance(data, StoredTensor | Inert):
        raise TypeError(f"a parameter is made from {type(data).__name__}")
    return data


def _rebuild_from_type(function: Any, kind: Any, arguments: Any, state: Any) -> StoredTensor | Inert:
    result = function.call(*arguments) if isinstance(function, Global) and isinstance(arguments, tuple) else None
    if not isinstance(result, StoredTensor | Inert):
        raise TypeError("a tensor subclass is not rebuilt from a tensor")
    return result
