"""The forms of operators for which onnx's reference implementation was proved to compute the numbers of onnxruntime.

All other forms are refused, because that implementation has errors and reports none of them.

`AUDITED` is the complete table, and the documentation is generated from it. The proof is
`pytest -m slow tests/importers/test_onnx_audit.py`: onnx's own node tests, and random nodes of every version, dtype and
form that the table allows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field
from typing import TYPE_CHECKING, Any, Final

from fastgru.records import dataclass

if TYPE_CHECKING:
    from onnx import NodeProto

__all__ = ["AUDITED", "ONNX_VERSIONS", "Audited", "refusal"]

# The versions (major, minor) of the onnx package that the whole proof was run with. Older ones are wrong in more
# places: in reductions up to 1.19, in ConvInteger and TensorScatter up to 1.22.
ONNX_VERSIONS: Final = ((1, 23),)


@dataclass(frozen=True)
class Audited:
    """The forms of an operator that were proved.

    versions: the versions of ONNX's definition. dtypes: for each type parameter of the definition, separated by blanks.
    attributes: {name: values} for attributes that were proved for these values only, which may be none. inputs: the
    least and the largest number of inputs, outputs: the largest number of outputs; None if any number was proved.
    gaps: whether an input may be absent before a present one.
    """

    versions: tuple[int, ...]
    dtypes: Mapping[str, str] = field(default_factory=dict)
    attributes: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    inputs: tuple[int, int] | None = None
    outputs: int | None = None
    gaps: bool = False


# AttributeProto's FLOAT, INT, STRING, FLOATS, INTS and STRINGS. No graphs, and no tensors: their data may be in a file.
_PLAIN: Final = (1, 2, 3, 6, 7, 8)
_FLOATS: Final = "float32 float64"
_SIZES: Final = "int32 int64"
_NUMBERS: Final = f"{_FLOATS} {_SIZES}"
_ALL: Final = f"{_NUMBERS} float16 int16 int8 uint8 uint16 bool"
_POOL: Final = {"auto_pad": ("NOTSET",), "ceil_mode": (0,)}
_WINDOW: Final = {"auto_pad": ("NOTSET", "VALID")}
_ML: Final = "ai.onnx.ml"
_AXES_VERSIONS: Final = (13, 21, 23, 24, 25)


AUDITED: Final[Mapping[tuple[str, str], Audited]] = {
    # images
    ("", "AffineGrid"): Audited((20,), {"T1": _FLOATS}),
    ("", "GridSample"): Audited((16, 20, 22), {"T1": "float32", "T2": "float32"}, {"mode": ("linear", "nearest")}),
    ("", "Col2Im"): Audited((18,), {"T": "float32"}, {"dilations": ([1], [1, 1], [1, 2], [2, 1], [2, 2], [1, 1, 1])}),
    ("", "DeformConv"): Audited((19, 22), {"T": _FLOATS}, gaps=True),
    ("", "LpPool"): Audited((2, 11, 18, 22), {"T": "float32"}, _POOL),
    ("", "AveragePool"): Audited((7, 10, 11, 19, 22), {"T": "float32"}, _POOL),
    ("", "MaxPool"): Audited((8, 10, 11, 12, 22), {"T": "float32"}, {**_POOL, "pads": ()}, outputs=1),
    ("", "MaxUnpool"): Audited((9, 11, 22), {"T1": "float32", "T2": "int64"}, inputs=(2, 2)),
    ("", "RoiAlign"): Audited((16,), {"T1": _FLOATS, "T2": "int64"}),
    ("", "NonMaxSuppression"): Audited((10, 11), inputs=(4, 5)),
    # convolutions
    ("", "Conv"): Audited((1, 11, 22), {"T": "float32"}, _WINDOW),
    ("", "ConvTranspose"): Audited((1, 11, 22), {"T": "float32"}, {**_WINDOW, "group": (1,), "output_shape": ()}),
    ("", "ConvInteger"): Audited((10,), {"T1": "int8 uint8", "T2": "int8 uint8"}, _WINDOW, inputs=(2, 2)),
    ("", "CausalConvWithState"): Audited((27,), {"T": "float32"}, gaps=True),
    ("", "LinearAttention"): Audited((27,), {"T": "float32", "S": "float32"}, gaps=True),
    # arrays
    ("", "Det"): Audited((11, 22), {"T": "float32"}),
    ("", "BitCast"): Audited((26,), {"T1": f"{_NUMBERS} float16 int16 int8 uint8 uint16"}),
    ("", "CumProd"): Audited((26,), {"T": _NUMBERS, "T2": _SIZES}),
    ("", "CumSum"): Audited((11, 14), {"T": _NUMBERS, "T2": _SIZES}),
    ("", "Compress"): Audited((9, 11, 28), {"T": _ALL}),
    ("", "Unique"): Audited((11, 28), {"T": f"{_FLOATS} int64"}, {"sorted": (1,)}),
    ("", "Squeeze"): Audited(_AXES_VERSIONS, {"T": _ALL}),
    ("", "Unsqueeze"): Audited(_AXES_VERSIONS, {"T": _ALL}),
    ("", "Pad"): Audited((18, 19, 21, 23, 24, 25), {"T": f"{_NUMBERS} bool", "Tind": _SIZES}, gaps=True),
    ("", "TensorScatter"): Audited((24,), {"T": _ALL}),
    ("", "ReduceL1"): Audited((18,), {"T": _NUMBERS}),
    ("", "ReduceL2"): Audited((18,), {"T": _FLOATS}),
    ("", "ReduceLogSum"): Audited((18, 28), {"T": _FLOATS}),
    ("", "ReduceLogSumExp"): Audited((18, 28), {"T": _FLOATS}),
    ("", "ReduceMax"): Audited((18, 20), {"T": f"{_NUMBERS} int8 uint8"}),
    ("", "ReduceMean"): Audited((18,), {"T": _FLOATS}),
    ("", "ReduceMin"): Audited((18, 20), {"T": f"{_NUMBERS} int8 uint8"}),
    ("", "ReduceProd"): Audited((18,), {"T": _FLOATS}),
    ("", "ReduceSum"): Audited((13,), {"T": _NUMBERS}),
    ("", "ReduceSumSquare"): Audited((18,), {"T": _NUMBERS}),
    # spectra
    ("", "DFT"): Audited((17, 20), {"T1": _FLOATS, "T2": _SIZES}, gaps=True),
    ("", "STFT"): Audited((17,), {"T1": _FLOATS, "T2": _SIZES}, gaps=True),
    ("", "MelWeightMatrix"): Audited((17,), {"T1": _SIZES, "T2": "float32"}, {"output_datatype": (1,)}),
    # sequences, which only these nodes take from each other
    ("", "ConcatFromSequence"): Audited((11,)),
    ("", "SequenceAt"): Audited((11,), {"I": _SIZES}),
    ("", "SequenceConstruct"): Audited((11,), {"T": f"{_NUMBERS} bool"}),
    ("", "SequenceEmpty"): Audited((11,)),
    ("", "SequenceErase"): Audited((11,), {"I": _SIZES}),
    ("", "SequenceInsert"): Audited((11,), {"T": f"{_NUMBERS} bool", "I": _SIZES}),
    ("", "SequenceLength"): Audited((11,)),
    ("", "SplitToSequence"): Audited((11, 24), {"T": f"{_NUMBERS} bool", "I": _SIZES}, {"keepdims": (1,)}),
    # preparation of features
    (_ML, "ArrayFeatureExtractor"): Audited((1,), {"T": _NUMBERS}),
    (_ML, "Binarizer"): Audited((1,), {"T": "float32"}),
    (_ML, "FeatureVectorizer"): Audited((1,), {"T1": _NUMBERS}),
    (_ML, "Imputer"): Audited((1,), {"T": "float32 int64"}),
    (_ML, "LabelEncoder"): Audited(
        (2, 4),
        {"T1": "float32 int64"},
        dict.fromkeys(("default_string", "keys_strings", "values_strings"), ()),
    ),
    (_ML, "OneHotEncoder"): Audited((1,), {"T": f"{_FLOATS} int64"}, {"cats_strings": ()}),
    (_ML, "Scaler"): Audited((1,), {"T": _FLOATS}),
}


def refusal(proto: NodeProto, opsets: Mapping[str, int], dtypes: Sequence[str | None]) -> str | None:
    """Return why the node is refused, None if it is not. dtypes: of its inputs, None for an unknown one."""
    from onnx import defs, helper

    domain = "" if proto.domain == "ai.onnx" else proto.domain
    entry = AUDITED.get((domain, proto.op_type))
    if entry is None:
        return "it was not proved to give the numbers of onnxruntime"
    if text := _unproved_onnx():
        return text
    try:
        schema = defs.get_schema(proto.op_type, opsets.get(domain, 0), domain)
    except defs.SchemaError:
        return "the onnx package does not know it in this opset"
    if schema.since_version not in entry.versions:
        return _only(f"version {schema.since_version} of its definition", "version", entry.versions)
    least, most = entry.inputs or (0, len(proto.input))
    if not least <= len(proto.input) <= most:
        return _only(f"a node of {len(proto.input)} inputs", "", [f"{least} to {most}"])
    if entry.outputs is not None and any(proto.output[entry.outputs :]):
        return _only(f"a node of {len(proto.output)} outputs", "at most", [entry.outputs])
    for attribute in proto.attribute:
        if attribute.name not in schema.attributes:
            return f"it has no attribute {attribute.name!r} in the definition"
        if attribute.type not in _PLAIN:
            return f"attribute {attribute.name!r} is no number or text, and none of another kind was proved"
        value = helper.get_attribute_value(attribute)
        value = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
        proved = entry.attributes.get(attribute.name)
        if proved is not None and value not in proved:
            return _only(f"attribute {attribute.name!r} with {value!r}", "", proved)
    absent = [i for i, name in enumerate(proto.input) if not name]
    if not entry.gaps and absent and any(proto.input[absent[0] :]):
        return f"input {absent[0]} is absent and a later one is not, which was not proved"
    for i, (name, dtype) in enumerate(zip(proto.input, dtypes, strict=True)):
        if name and (text := _of_dtype(entry, schema, i, name, dtype)):
            return text
    return None


def _unproved_onnx() -> str | None:
    from onnx import __version__

    found = tuple(int(text) for text in __version__.split(".")[:2])
    if found in ONNX_VERSIONS:
        return None
    proved = " or ".join(".".join(map(str, version)) for version in ONNX_VERSIONS)
    return f"it was proved with onnx {proved}, and onnx {__version__} is installed"


def _of_dtype(entry: Audited, schema: Any, index: int, name: str, dtype: str | None) -> str | None:
    """Return what is wrong with the dtype of an input, None if nothing is."""
    formal = schema.inputs[min(index, len(schema.inputs) - 1)]
    if formal.type_str not in entry.dtypes:  # a dtype that the definition itself fixes, or a sequence
        return None
    if dtype is None:
        return f"the element type of input {name!r} does not follow from the file; declare it"
    proved = entry.dtypes[formal.type_str].split()
    return None if dtype in proved else _only(f"input {name!r} of {dtype}", "", proved)


def _only(came: str, what: str, proved: Iterable[Any]) -> str:
    others = ", ".join(map(str, proved))
    return f"{came} was not proved" + (f", only {what} {others}".replace("  ", " ") if others else "")
