"""State dicts whose tensors are no weights but bytes that another library unpacks: refused by that library's name."""

from collections.abc import Iterable
from typing import Final

from fastgru.errors import UnsupportedModelError

__all__ = ["refuse_packed"]

# How the tensors beside a packed weight are called: what made them -> endings of names, all of which are there.
_MARKS: Final = (
    ("bitsandbytes (8 bits)", (".SCB",)),
    ("bitsandbytes (4 bits)", (".absmax", ".quant_map")),
    ("GPTQ", (".qweight", ".qzeros", ".g_idx")),
    ("AWQ", (".qweight", ".qzeros", ".scales")),
    ("quanto", (".weight._data", ".weight._scale")),
    ("compressed-tensors", (".weight_packed", ".weight_scale")),
)


def refuse_packed(names: Iterable[str], what: str) -> None:
    """Raise `UnsupportedModelError` where the names are those of weights that another library quantised and packed."""
    every = list(names)
    for library, endings in _MARKS:
        found = [next((name for name in every if name.endswith(ending)), None) for ending in endings]
        if None not in found:
            shown = ", ".join(repr(name[:80]) for name in found if name is not None)
            raise UnsupportedModelError(
                f"{what}: {shown}: weights that {library} quantised and packed, which are not read: save the state dict"
                " of the float model; precision='int8' gives its weights 8 bits at loading"
            )
