"""What a session tells of its model: NodeArg and ModelMetadata, as the file declares them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from onnx import ModelProto

from fastgru.compat.onnxruntime.values import type_name
from fastgru.graph import TensorSpec

__all__ = ["ModelMetadata", "NodeArg", "metadata", "node_arg"]


@dataclass(frozen=True)
class NodeArg:
    """An input or output. shape: a size, the name of a free dimension, or None for one without a name."""

    name: str
    type: str
    shape: list[int | str | None]


@dataclass(frozen=True)
class ModelMetadata:
    """What the file says of itself."""

    producer_name: str = ""
    graph_name: str = ""
    domain: str = ""
    description: str = ""
    graph_description: str = ""
    version: int = 0
    custom_metadata_map: Mapping[str, str] = field(default_factory=dict)


def node_arg(spec: TensorSpec) -> NodeArg:
    """As the graph declares it: the dtype of the file, whatever the precision that computes."""
    names = spec.dims or (None,) * len(spec.shape or ())
    shape = [name if size is None else size for size, name in zip(spec.shape or (), names, strict=True)]
    return NodeArg(spec.name, type_name(spec.dtype), shape)


def metadata(model: ModelProto) -> ModelMetadata:
    """Of a parsed file."""
    return ModelMetadata(
        model.producer_name,
        model.graph.name,
        model.domain,
        model.doc_string,
        model.graph.doc_string,
        model.model_version,
        {prop.key: prop.value for prop in model.metadata_props},
    )
