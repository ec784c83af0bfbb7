"""What a session tells of its model: NodeArg and ModelMetadata, as the file declares them, or as it follows."""

from collections.abc import Iterable, Mapping
from dataclasses import field
from typing import Final

from onnx import ModelProto

from fastgru.compat.onnxruntime.values import type_name
from fastgru.graph import Graph, TensorSpec
from fastgru.records import dataclass
from fastgru.reference.facts import infer_graph
from fastgru.reference.sizes import Size

__all__ = ["ModelMetadata", "NodeArg", "metadata", "node_arg", "output_args"]


_NO_VERSION: Final = (1 << 63) - 1  # what onnxruntime says where the file says nothing


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
    return NodeArg(spec.name, type_name(spec.dtype), _declared(spec))


def output_args(graph: Graph, names: Iterable[str]) -> list[NodeArg]:
    """The outputs of these names: sizes and names that the file declares, and where it declares none, those that follow
    from the inputs. A size that it declares and that cannot be is None."""
    facts = infer_graph(graph)
    made = {
        spec.name: NodeArg(spec.name, type_name(spec.dtype), _merged(spec, facts[spec.name].sizes))
        for spec in graph.outputs
    }
    return [made[name] for name in names]


def _declared(spec: TensorSpec) -> list[int | str | None]:
    names = spec.dims or (None,) * len(spec.shape or ())
    return [name if size is None else size for size, name in zip(spec.shape or (), names, strict=True)]


def _merged(spec: TensorSpec, sizes: tuple[Size, ...] | None) -> list[int | str | None]:
    declared = _declared(spec)
    if sizes is None:
        return declared
    inferred = [size if isinstance(size, int | str) else None for size in sizes]
    if spec.shape is None or len(declared) != len(inferred):
        return inferred
    return [_one(ours, theirs) for ours, theirs in zip(declared, inferred, strict=True)]


def _one(declared: int | str | None, inferred: int | str | None) -> int | str | None:
    if declared is None or inferred is None:
        return inferred if declared is None else declared
    if isinstance(declared, int) and isinstance(inferred, int):
        return declared if declared == inferred else None
    return inferred if isinstance(inferred, int) else declared


def metadata(model: ModelProto) -> ModelMetadata:
    """Of a parsed file."""
    return ModelMetadata(
        model.producer_name,
        model.graph.name,
        model.domain,
        model.doc_string,
        model.graph.doc_string,
        model.model_version if model.HasField("model_version") else _NO_VERSION,
        {prop.key: prop.value for prop in model.metadata_props},
    )
