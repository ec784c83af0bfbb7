"""The changes that SessionOptions make to a model before it is read: sizes of free dimensions, and initializers."""

import os
from collections.abc import Collection
from dataclasses import field
from typing import Final

import numpy as np
from onnx import ModelProto, TensorProto, TensorShapeProto, numpy_helper

from fastgru.arrays import Array
from fastgru.compat.onnxruntime.errors import InvalidArgument
from fastgru.records import dataclass
from fastgru.sources import Content

__all__ = ["EXTERNAL_FOLDER", "EditedContent", "Edits"]

EXTERNAL_FOLDER: Final = "session.model_external_initializers_file_folder_path"


class EditedContent(Content):
    """The bytes of a changed model, with the path of its file, because external data is found relative to that path."""

    def __init__(self, data: bytes, name: str, path: str | None) -> None:
        super().__init__(memoryview(data), name)
        self.path = path


@dataclass
class Edits:
    """The changes to a model.

    by_name, by_denotation: sizes of free dimensions.
    initializers: arrays that replace initializers of the file.
    external: arrays for initializers whose data is not in the file.
    files: the contents of files of external data, by location.
    """

    by_name: dict[str, int] = field(default_factory=dict)
    by_denotation: dict[str, int] = field(default_factory=dict)
    initializers: dict[str, Array] = field(default_factory=dict)
    external: dict[str, Array] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return any((self.by_name, self.by_denotation, self.initializers, self.external, self.files))

    def applied(self, proto: ModelProto, content: Content, folder: str, fed: Collection[str]) -> Content:
        """Return the content with all changes; without changes, return `content` itself.

        folder: the folder of external data, or "" for that of the file. fed: initializers that become inputs.

        Raises `InvalidArgument` for an initializer that the model lacks, or that has another shape or dtype.
        """
        if folder and content.path is None:
            content = EditedContent(content.tobytes(), content.name, os.path.join(folder, "model.onnx"))
        if not self and not fed:
            return content
        for info in (*proto.graph.input, *proto.graph.output, *proto.graph.value_info):
            for dim in info.type.tensor_type.shape.dim:
                self._fix(dim)
        tensors = {tensor.name: tensor for tensor in proto.graph.initializer}
        for name, array in {**self.initializers, **self.external}.items():
            _replace(tensors.get(name), name, array)
        for tensor in tensors.values() if self.files else ():
            self._take(tensor)
        if fed:
            kept = [tensor for tensor in proto.graph.initializer if tensor.name not in fed]
            del proto.graph.initializer[:]
            proto.graph.initializer.extend(kept)
        return EditedContent(proto.SerializeToString(), content.name, content.path)

    def _fix(self, dim: TensorShapeProto.Dimension) -> None:
        if dim.HasField("dim_value") and dim.dim_value >= 0:
            return
        size = self.by_name.get(dim.dim_param) if dim.dim_param else None
        if size is None:
            size = self.by_denotation.get(dim.denotation) if dim.denotation else None
        if size is not None:
            dim.dim_value = size

    def _take(self, tensor: TensorProto) -> None:
        """Put the data of a tensor into the model, if its file is one of those in memory."""
        entries = {entry.key: entry.value for entry in tensor.external_data}
        data = self.files.get(entries.get("location", ""))
        if tensor.data_location != TensorProto.EXTERNAL or data is None:
            return
        begin = int(entries.get("offset", "0"))
        raw = data[begin : begin + int(entries.get("length", str(len(data) - begin)))]
        tensor.ClearField("data_location")
        del tensor.external_data[:]
        tensor.raw_data = bytes(raw)


def _replace(tensor: TensorProto | None, name: str, array: Array) -> None:
    if tensor is None:
        raise InvalidArgument(f"initializer {name!r}: the model has no initializer with this name")
    made = numpy_helper.from_array(np.asarray(array, order="C"), name)
    if (made.data_type, list(made.dims)) != (tensor.data_type, list(tensor.dims)):
        expected = f"{_type_word(tensor.data_type)} {list(tensor.dims)}"
        raise InvalidArgument(
            f"initializer {name!r}: got {_type_word(made.data_type)} {list(made.dims)}, expected {expected}"
        )
    tensor.CopyFrom(made)


def _type_word(number: int) -> str:
    return str(TensorProto.DataType.Name(number)).lower()
