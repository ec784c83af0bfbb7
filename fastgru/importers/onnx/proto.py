"""The message classes of ONNX files, without the rest of the onnx package.

The package's module of messages is loaded alone, under its own name, so that a later `import onnx` gets the same
classes. The checker, schemas and shape inference of onnx take longer to import than a model takes to load.
"""

import importlib.machinery
import importlib.util
import sys
from typing import Any, Final

from google.protobuf import internal
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.internal import api_implementation
from google.protobuf.message import Message

from fastgru.errors import InvalidModelError

__all__ = [
    "AttributeProto", "FunctionProto", "GraphProto", "ModelProto", "NodeProto", "TensorProto", "TypeProto",
    "ValueInfoProto", "check_text", "label", "main_domain",
]  # fmt: skip

_NAME: Final = "onnx.onnx_ml_pb2"
_IN_PYTHON: Final = "python_message"  # a module of `google.protobuf.internal`
_STRING: Final = FieldDescriptor.TYPE_STRING
_MESSAGE: Final = FieldDescriptor.TYPE_MESSAGE


def _spare_messages_in_python() -> None:
    """Delay the execution of protobuf's Python implementation until one of its names is used.

    Protobuf imports it together with a dozen modules, although its native implementation needs none of them.
    """
    name = f"{internal.__name__}.{_IN_PYTHON}"
    spec = None
    if api_implementation.Type() == "upb" and name not in sys.modules:
        spec = importlib.machinery.PathFinder.find_spec(name, internal.__path__)
    if spec is not None and spec.loader is not None:
        spec.loader = importlib.util.LazyLoader(spec.loader)
        sys.modules[name] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        setattr(internal, _IN_PYTHON, module)


def _load_messages() -> None:
    """Put the module of messages into `sys.modules`; if it is missing, the import below raises."""
    package = importlib.util.find_spec("onnx")
    places = None if package is None else package.submodule_search_locations
    spec = importlib.machinery.PathFinder.find_spec(_NAME, places) if places else None
    if spec is not None and spec.loader is not None:
        module = importlib.util.module_from_spec(spec)
        sys.modules[_NAME] = module
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[_NAME]
            raise


if "onnx" not in sys.modules and _NAME not in sys.modules:
    _spare_messages_in_python()
    _load_messages()

from onnx.onnx_ml_pb2 import (  # noqa: E402  # found in sys.modules: onnx itself is not imported
    AttributeProto,
    FunctionProto,
    GraphProto,
    ModelProto,
    NodeProto,
    TensorProto,
    TypeProto,
    ValueInfoProto,
)


def label(proto: NodeProto, prefix: str = "") -> str:
    """Return the node's name, or else the name of its first output."""
    return prefix + (proto.name or next((f"-> {name}" for name in proto.output if name), "unnamed"))


def main_domain(domain: str) -> str:
    """Return "" for both names of ONNX's own domain, and any other domain unchanged."""
    return "" if domain == "ai.onnx" else domain


def check_text(message: Message) -> None:
    """Raise `InvalidModelError` if a string field at any depth is not UTF-8; protobuf returns such a field as bytes."""
    stack: list[Any] = [message]
    while stack:
        current = stack.pop()
        if isinstance(current, TensorProto):  # ListFields would copy all of its data
            _check("TensorProto.name", current.name)
            _check("TensorProto.doc_string", current.doc_string)
            stack.extend(current.external_data)
            continue
        for field, value in current.ListFields():
            if field.type == _STRING:
                texts = (value,) if isinstance(value, str | bytes) else value
                if bytes in map(type, texts):
                    for text in texts:
                        _check(f"{current.DESCRIPTOR.name}.{field.name}", text)
            elif field.type == _MESSAGE:
                stack.extend((value,) if isinstance(value, Message) else value)


def _check(where: str, text: str | bytes) -> None:
    if isinstance(text, bytes):
        raise InvalidModelError(f"{where} is {text[:40]!r}, which is not UTF-8")
