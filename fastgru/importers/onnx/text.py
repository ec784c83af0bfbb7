"""Every string of a model is text: protobuf hands out what is not UTF-8 as bytes, unasked."""

from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from fastgru.errors import InvalidModelError
from fastgru.importers.onnx.proto import TensorProto

__all__ = ["check_text"]


def check_text(message: Message) -> None:
    """Raise `InvalidModelError` for a string field, at any depth, that is not UTF-8."""
    stack: list[Any] = [message]
    while stack:
        current = stack.pop()
        if isinstance(current, TensorProto):  # ListFields would copy all of its data
            _check("TensorProto.name", current.name)
            _check("TensorProto.doc_string", current.doc_string)
            stack.extend(current.external_data)
            continue
        for field, value in current.ListFields():
            if field.type == FieldDescriptor.TYPE_STRING:
                for text in (value,) if isinstance(value, str | bytes) else value:
                    _check(f"{current.DESCRIPTOR.name}.{field.name}", text)
            elif field.type == FieldDescriptor.TYPE_MESSAGE:
                stack.extend((value,) if isinstance(value, Message) else value)


def _check(where: str, text: str | bytes) -> None:
    if isinstance(text, bytes):
        raise InvalidModelError(f"{where} is {text[:40]!r}, which is not UTF-8")
