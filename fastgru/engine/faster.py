"""The sizes from which low-precision weights are no slower than float32, by target: `precision="auto"` uses them.

A row of the table holds for any number of rows in a call, for one step or a long sequence. The choice depends on the
sizes of the weights and on the target alone, so a row of a batch has the same bits whatever else is in the batch.

`tools/precision_ratios` prints the measurements behind the table. The levels v2, v4, v4+vnni and v4+vnni+bf16 of x86-64
were measured on Zen 4, v3 on Zen 3. The others follow from the instructions and have not been measured yet:

- v3+vnni, v4+amx: one instruction multiplies and adds four times as many bytes as floats, or more in tiles, and a
  quarter of the bytes is read. Work besides the products limits small sizes, as it does on v4+vnni.
- aarch64+dotprod, +i8mm+bf16: four bytes or two bfloat16 take the place of one float, on some cores at half the rate.
  bfloat16 therefore pays only for sizes whose weights do not fit the L1.
- bfloat16 without an instruction for it is widened in every tile. Single steps gain from that; batches lose if the
  ports of multiply-adds do the widening, as in Intel's cores.
- int8 in 512 bits without VNNI is widened, multiplied and added on the two ports that float32 has for itself
  (Skylake-X): 52 operations for 48. With 256 bits there is a third port for them.
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from fastgru.simd.cpu import host_features
from fastgru.simd.target import TARGET

__all__ = ["HERE", "TABLE", "Least", "describe", "row_of", "slower", "slower_everywhere"]


class Least(NamedTuple):
    """The smallest sizes for which a low precision pays.

    units: of a GRU. outputs, inputs, weights: of other matrices. row: numbers in a row of an embedding table.
    """

    units: int
    outputs: int
    inputs: int
    weights: int
    row: int

    def __str__(self) -> str:
        return (
            f"GRUs from {self.units} units; other matrices from {self.outputs} outputs, {self.inputs} inputs and"
            f" {self.weights:,} weights; tables from {self.row} numbers a row"
        )


_NEVER: Final = None
_DOTS: Final = Least(64, 32, 16, 1 << 12, 16)
_WIDENED: Final = Least(64, 32, 64, 1 << 12, 16)

# By precision and row; None: at no size is the precision sure to be as fast as float32.
TABLE: Final[Mapping[str, Mapping[str, Least | None]]] = {
    "bfloat16": {
        "x86-64-v2": _NEVER,
        "x86-64-v3": _NEVER,
        "x86-64-v3+vnni": _NEVER,
        "x86-64-v4": _NEVER,
        "x86-64-v4+vnni": _NEVER,
        "x86-64-v4+vnni+bf16": _DOTS,
        "x86-64-v4+vnni+bf16 at half rate": _NEVER,
        "x86-64-v4+amx": _DOTS,
        "x86-64-v4+amx-emulated": _DOTS,
        "aarch64": _NEVER,
        "aarch64+dotprod": _NEVER,
        "aarch64+i8mm+bf16": Least(128, 64, 64, 1 << 14, 16),
    },
    "int8": {
        "x86-64-v2": _WIDENED,
        "x86-64-v3": Least(256, 64, 64, 1 << 12, 16),
        "x86-64-v3+vnni": _DOTS,
        "x86-64-v4": _NEVER,
        "x86-64-v4+vnni": _DOTS,
        "x86-64-v4+vnni+bf16": _DOTS,
        "x86-64-v4+vnni+bf16 at half rate": _DOTS,
        "x86-64-v4+amx": _DOTS,
        "x86-64-v4+amx-emulated": _DOTS,
        "aarch64": _NEVER,
        "aarch64+dotprod": _WIDENED,
        "aarch64+i8mm+bf16": _WIDENED,
    },
}


def row_of(level: str, features: Mapping[str, bool]) -> str:
    """Return the row of the table for a target's short name, on a CPU with these features.

    Intel's cores since Sapphire Rapids do `vdpbf16ps` at half the rate of Zen 4: in batches bfloat16 is slower there
    than float32 (104 against 145 to 180 GFLOP/s) outside of AMX's tiles. Only those cores have AVX512-FP16.
    """
    half = level == "x86-64-v4+vnni+bf16" and features.get("avx512fp16", False)
    return f"{level} at half rate" if half else level


HERE: Final = row_of(TARGET.short, host_features())


def describe() -> dict[str, Any]:
    """Return what `fastgru doctor` prints: the row of this process, and the smallest sizes for each precision."""
    rows = {precision: rows[HERE] for precision, rows in TABLE.items()}
    return {
        "row": HERE,
        "least": {precision: None if least is None else str(least) for precision, least in rows.items()},
    }


def slower(op: str, shape: tuple[int, int], precision: str, row: str = HERE) -> str:
    """Say why weights may be slower in a low precision than in float32; "" if they are not.

    shape: (outputs, inputs) of the largest matrix, counting one gate only.
    """
    least = TABLE[precision][row]
    if least is None:
        return f"{precision} may be slower than float32 on {row}, whatever the sizes"
    return _too_small(op, shape, precision, least)


def slower_everywhere(op: str, shape: tuple[int, int], precision: str) -> str:
    """Say the same of all rows of the table: "" if the precision pays at this size on any of them."""
    found = [_too_small(op, shape, precision, least) for least in TABLE[precision].values() if least is not None]
    return min(found, key=len)


def _too_small(op: str, shape: tuple[int, int], precision: str, least: Least) -> str:
    outputs, inputs = shape
    if op == "gru":
        sizes = {"units": (outputs, least.units)}
    elif op == "embedding":
        sizes = {"numbers a row": (inputs, least.row)}
    else:
        sizes = {
            "outputs": (outputs, least.outputs),
            "inputs": (inputs, least.inputs),
            "weights": (outputs * inputs, least.weights),
        }
    for what, (size, enough) in sizes.items():
        if size < enough:
            return f"{size:,} {what} are faster in float32: {precision} pays from {enough:,}"
    return ""
