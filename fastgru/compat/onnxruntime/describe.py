"""The description of a session's model: NodeArg and ModelMetadata, as the file declares or implies them."""

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


_NO_VERSION: Final = (1 << 63) - 1  # onnxruntime's value for a file without a version


@dataclass(frozen=True)
class NodeArg:
    """An input or output. shape: for each dimension a size, a name, or None for a free dimension without a name."""

    name: str
    type: str
    shape: list[int | str | None]


@dataclass(frozen=True)
class ModelMetadata:
    """The information of the file about itself."""

    producer_name: str = ""
    graph_name: str = ""
    domain: str = ""
    description: str = ""
    graph_description: str = ""
    version: int = 0
    custom_metadata_map: Mapping[str, str] = field(default_factory=dict)


def node_arg(spec: TensorSpec) -> NodeArg:
    """Return an input or output with the dtype that the graph declares, whatever the precision of the computation."""
    return NodeArg(spec.name, type_name(spec.dtype), _declared(spec))


def output_args(graph: Graph, names: Iterable[str]) -> list[NodeArg]:
    """Return the outputs of these names. Sizes that the file does not declare are inferred from the inputs. A declared
    size that contradicts the inferred one becomes None.
    """
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
    """Return the metadata of a parsed file."""
    return ModelMetadata(
        model.producer_name,
        model.graph.name,
        model.domain,
        model.doc_string,
        model.graph.doc_string,
        model.model_version if model.HasField("model_version") else _NO_VERSION,
        {prop.key: prop.value for prop in model.metadata_props},
    )
