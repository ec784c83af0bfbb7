"""The outputs of a model as the body of an answer: a JSON object, followed by bytes if they were asked for."""

from collections.abc import Mapping
from functools import lru_cache
from math import prod
from typing import Final

import numpy as np
import orjson

from fastgru.graph import Array
from fastgru.serve.app import Answer, Headers
from fastgru.serve.models import Served
from fastgru.serve.text import write_json
from fastgru.serve.v2.lists import LONG_VALUES, write_list
from fastgru.serve.v2.plan import Outputs

__all__ = ["Answers"]

_HEADS: Final = 256  # how many JSON objects are cached; they only depend on names and shapes
_BYTES: Final = (b"content-type", b"application/octet-stream")
_JSON: Final = (b"content-type", b"application/json")
_NON_FINITE: Final = b',"parameters":{"non_finite":%d}'
_HERE: Final = b"\0"  # a byte that JSON never contains
_NO_LISTS: Final[Mapping[int, bytes]] = {}


class Answers:
    """Writes the answers of one model."""

    def __init__(self, served: Served) -> None:
        self._served = served
        self._heads = lru_cache(_HEADS)(self._head)

    async def write(self, request_id: str, wanted: Outputs, arrays: tuple[Array, ...]) -> Answer:
        """Do what `write_now` does, but write long lists in parts."""
        long = [i for i, binary in wanted if not binary and arrays[i].size > LONG_VALUES]
        return self.write_now(request_id, wanted, arrays, {i: await write_list(arrays[i].ravel()) for i in long})

    @staticmethod
    def is_long(wanted: Outputs, arrays: tuple[Array, ...]) -> bool:
        """Return whether the answer has long lists."""
        return any(not binary and arrays[i].size > LONG_VALUES for i, binary in wanted)

    def write_now(
        self, request_id: str, wanted: Outputs, arrays: tuple[Array, ...], lists: Mapping[int, bytes] = _NO_LISTS
    ) -> Answer:
        """Return the answer with the wanted outputs.

        request_id: "" for none. arrays: all outputs of the model. lists: lists that are already written, by output.

        JSON has no NaN and no infinity: they become null, and the parameter `non_finite` counts them.
        """
        pieces, headers = self._heads(wanted, tuple([arrays[i].shape for i, _ in wanted]))
        if headers and not request_id:  # all outputs are bytes, and the JSON object is the cached one
            if len(wanted) == 1:
                return Answer(200, headers, pieces[0] + arrays[wanted[0][0]].tobytes())
            return Answer(200, headers, b"".join((pieces[0], *[arrays[i].tobytes() for i, _ in wanted])))
        texts = [pieces[0]]
        if request_id:
            texts = [b'{"id":', write_json(request_id), b",", pieces[0][1:]]
        following, seen = [], 0
        for i, binary in wanted:
            if binary:
                following.append(arrays[i].tobytes())
                continue
            flat = arrays[i].ravel()
            texts.append(text := lists.get(i) or write_json(flat))
            if b"null" in text:
                texts.append(_NON_FINITE % (flat.size - np.count_nonzero(np.isfinite(flat))))
            texts.append(pieces[seen := seen + 1])
        if not following:
            body = b"".join(texts)
            return Answer(200, [_JSON, (b"content-length", b"%d" % len(body))], body)
        size = sum(map(len, texts))
        body = b"".join((*texts, *following))
        return Answer(200, _lengths(size, len(body)), body)

    def _head(self, wanted: Outputs, shapes: tuple[tuple[int, ...], ...]) -> tuple[list[bytes], Headers]:
        """Return the JSON object, split where lists of values belong, and the headers if there are no lists."""
        served, outputs, total = self._served, [], 0
        for (i, binary), shape in zip(wanted, shapes, strict=True):
            field = served.outputs[i]
            size = prod(shape) * field.dtype.itemsize
            total += size
            values = {"parameters": {"binary_data_size": size}} if binary else {"data": orjson.Fragment(_HERE)}
            outputs.append({"name": field.name, "datatype": field.datatype, "shape": shape, **values})
        text = write_json({"model_name": served.name, "model_version": served.version, "outputs": outputs})
        pieces = text.split(_HERE)
        return pieces, _lengths(len(text), len(text) + total) if len(pieces) == 1 else []


def _lengths(text: int, body: int) -> Headers:
    return [_BYTES, (b"inference-header-content-length", b"%d" % text), (b"content-length", b"%d" % body)]
