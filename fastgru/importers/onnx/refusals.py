"""Collects everything in a file that is not implemented into one message."""

from collections.abc import Mapping
from typing import Final

from fastgru.errors import UnsupportedModelError
from fastgru.importers.onnx.builder import Site

__all__ = ["Refusals", "way_round"]

_SHOWN_NODES: Final = 3
_SHOWN_FAULTS: Final = 50
_WAY: Final = (
    "simplify the file (onnxsim, onnxslim), export it another way, or build the part around the GRU with"
    " fastgru.GRU.from_onnx and the other layers"
)
_FALLBACK: Final = (
    'With fallback="reference", onnx\'s reference implementation runs the nodes for which it was checked,'
    " 10 to 100,000 times slower; `fastgru inspect` lists these nodes."
)
_WITH_REFERENCE: Final = ("ai.onnx", "ai.onnx.ml")
_LOWP: Final = (
    "use the float model from which the file was made; fastgru.load(..., precision='int8') gives its weights 8 bits"
)
_WAYS: Final[Mapping[str, str]] = {
    **dict.fromkeys(
        ("Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"),
        "every call gives the same outputs: make the random tensor outside the model and feed it as an input",
    ),
    **dict.fromkeys(
        (
            "ConcatFromSequence",
            "SequenceAt",
            "SequenceConstruct",
            "SequenceEmpty",
            "SequenceErase",
            "SequenceInsert",
            "SequenceLength",
            "SequenceMap",
            "SplitToSequence",
        ),
        "fastgru has no sequences: export with tensors (Split, Concat, a fixed number of steps)",
    ),
}
_LAYOUT: Final = "write the file with GraphOptimizationLevel.ORT_ENABLE_EXTENDED: this layout depends on the CPU"
_OF_MICROSOFT: Final[Mapping[str, str]] = {
    "DynamicQuantizeLSTM": "leave the LSTM in float: quantize_dynamic(..., op_types_to_quantize=['MatMul', 'Conv'])",
    "MatMulInteger16": "use the original file, which onnxruntime has not optimised",
    **dict.fromkeys(("NhwcConv", "NhwcFusedConv"), _LAYOUT),
    **dict.fromkeys(("GatherBlockQuantized", "MatMulBnb4", "MatMulFpQ4", "MatMulNBits", "QAttention"), _LOWP),
}


class Refusals:
    """The operators that are not implemented, with the nodes that use them, and faults of single nodes."""

    def __init__(self, *, fallback: bool = False) -> None:
        self._fallback = fallback
        self._operators: dict[tuple[str, str, int], list[str]] = {}
        self._faults: list[str] = []

    def add_operator(self, op: str, domain: str, opset: int, node: str) -> None:
        self._operators.setdefault((op, domain or "ai.onnx", opset), []).append(node)

    def add_fault(self, message: str) -> None:
        self._faults.append(message)

    def raise_if_any(self, what: str) -> None:
        """Raise `UnsupportedModelError` with everything that was added."""
        if not self._operators and not self._faults:
            return
        lines = [
            f"operator {op} ({domain} opset {opset}) is not implemented: {_nodes(nodes)}"
            + (f"; {way}" if (way := _way(op, domain)) else "")
            for (op, domain, opset), nodes in sorted(self._operators.items())
        ]
        lines += self._faults[:_SHOWN_FAULTS]
        if (more := len(self._faults) - _SHOWN_FAULTS) > 0:
            lines.append(f"and {more} more")
        way = f"\nA workaround: {_WAY}." if any(not _way(op, domain) for op, domain, _ in self._operators) else ""
        if not self._fallback and (self._faults or any(domain in _WITH_REFERENCE for _, domain, _ in self._operators)):
            way += f"\n{_FALLBACK}"
        if len(lines) == 1:
            raise UnsupportedModelError(f"{what}: {lines[0]}{way}")
        raise UnsupportedModelError(f"{what}:\n" + "\n".join(f"  - {line}" for line in lines) + way)


def way_round(site: Site) -> str:
    """Return advice for a node that is not implemented."""
    return _way(site.proto.op_type, site.domain) or _WAY


def _way(op: str, domain: str) -> str | None:
    if domain == "com.microsoft.nchwc":
        return _LAYOUT
    return (_OF_MICROSOFT if domain == "com.microsoft" else _WAYS).get(op)


def _nodes(names: list[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:_SHOWN_NODES])
    more = len(names) - _SHOWN_NODES
    head = "node " if len(names) == 1 else f"{len(names)} nodes, "
    return f"{head}{shown}" + (f" and {more} more" if more > 0 else "")
