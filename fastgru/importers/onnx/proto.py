"""The message classes of ONNX files, without the rest of the onnx package.

The module of messages that the package holds is loaded alone, under its own name: whoever imports onnx afterwards
gets these very classes. Its checker, schemas and shape inference take longer to import than a model takes to load.
"""

import importlib
import importlib.machinery
import importlib.util
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Final

__all__ = [
    "AttributeProto", "FunctionProto", "GraphProto", "ModelProto", "NodeProto", "TensorProto", "TypeProto",
    "ValueInfoProto", "label", "main_domain",
]  # fmt: skip

_NAME: Final = "onnx.onnx_ml_pb2"


def _messages() -> ModuleType:
    if "onnx" in sys.modules or _NAME in sys.modules:
        return importlib.import_module(_NAME)
    package = importlib.util.find_spec("onnx")
    places = None if package is None else package.submodule_search_locations
    spec = importlib.machinery.PathFinder.find_spec(_NAME, places) if places else None
    if spec is None or spec.loader is None:
        return importlib.import_module(_NAME)  # which says what is missing
    module = importlib.util.module_from_spec(spec)
    sys.modules[_NAME] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[_NAME]
        raise
    return module


if TYPE_CHECKING:
    from onnx import (
        AttributeProto,
        FunctionProto,
        GraphProto,
        ModelProto,
        NodeProto,
        TensorProto,
        TypeProto,
        ValueInfoProto,
    )
else:
    _module = _messages()
    AttributeProto = _module.AttributeProto
    FunctionProto = _module.FunctionProto
    GraphProto = _module.GraphProto
    ModelProto = _module.ModelProto
    NodeProto = _module.NodeProto
    TensorProto = _module.TensorProto
    TypeProto = _module.TypeProto
    ValueInfoProto = _module.ValueInfoProto


def label(proto: NodeProto, prefix: str = "") -> str:
    """The node's name, or that of its first output."""
    return prefix + (proto.name or next((f"-> {name}" for name in proto.output if name), "unnamed"))


def main_domain(domain: str) -> str:
    """ONNX's own domain has two names: "" for both, any other as it is."""
    return "" if domain == "ai.onnx" else domain
