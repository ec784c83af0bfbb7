"""The outputs of a model as the body of an answer: a JSON object, and bytes behind it where they were asked for."""

from functools import lru_cache
from typing import Any, Final

import numpy as np

from fastgru.graph import Array
from fastgru.serve.app import Answer
from fastgru.serve.models import Served
from fastgru.serve.text import write_json

__all__ = ["Answers", "Outputs"]

Outputs = tuple[tuple[int, bool], ...]  # which of the model's, and whether as bytes

_HEADS: Final = 256  # JSON objects that are remembered: they tell names and shapes alone
_BYTES: Final = (b"content-type", b"application/octet-stream")
_JSON: Final = (b"content-type", b"application/json")


class Answers:
    """Writes those of one model."""

    def __init__(self, served: Served) -> None:
        self._served = served
        self._head = lru_cache(_HEADS)(self._make_head)

    def write(self, request_id: str, wanted: Outputs, arrays: tuple[Array, ...]) -> Answer:
        """Of the outputs that are wanted, from all of the model's. request_id: "" for none."""
        if False in [binary for _, binary in wanted]:
            text = self._with_lists(request_id, wanted, arrays)
        else:
            text = self._head(wanted, tuple([arrays[i].shape for i, _ in wanted]))
            if request_id:
                text = b'{"id":' + write_json(request_id) + b"," + text[1:]
        parts = [arrays[i].tobytes() for i, binary in wanted if binary]
        if not parts:
            return Answer(200, [_JSON, (b"content-length", b"%d" % len(text))], text)
        body = b"".join((text, *parts))
        length = (b"inference-header-content-length", b"%d" % len(text))
        return Answer(200, [_BYTES, length, (b"content-length", b"%d" % len(body))], body)

    def _make_head(self, wanted: Outputs, shapes: tuple[tuple[int, ...], ...]) -> bytes:
        sizes = [
            {"parameters": {"binary_data_size": int(np.prod(shape)) * self._served.outputs[i].dtype.itemsize}}
            for (i, _), shape in zip(wanted, shapes, strict=True)
        ]
        return write_json(self._object("", wanted, shapes, sizes))

    def _with_lists(self, request_id: str, wanted: Outputs, arrays: tuple[Array, ...]) -> bytes:
        """JSON has no NaN and no infinity: they are null, and `non_finite` tells how many of them there are."""
        shapes = tuple([arrays[i].shape for i, _ in wanted])
        values: list[dict[str, Any]] = [
            {"parameters": {"binary_data_size": arrays[i].nbytes}} if binary else {"data": arrays[i].ravel()}
            for i, binary in wanted
        ]
        text = write_json(self._object(request_id, wanted, shapes, values))
        if b"null" in text:
            for value in values:
                if "data" in value and (lost := value["data"].size - np.count_nonzero(np.isfinite(value["data"]))):
                    value["parameters"] = {"non_finite": lost}
            text = write_json(self._object(request_id, wanted, shapes, values))
        return text

    def _object(
        self, request_id: str, wanted: Outputs, shapes: tuple[tuple[int, ...], ...], values: list[dict[str, Any]]
    ) -> dict[str, Any]:
        served = self._served
        head = {"id": request_id} if request_id else {}
        fields = [served.outputs[i] for i, _ in wanted]
        outputs = [
            {"name": field.name, "datatype": field.datatype, "shape": shape, **value}
            for field, shape, value in zip(fields, shapes, values, strict=True)
        ]
        return {**head, "model_name": served.name, "model_version": served.version, "outputs": outputs}
