"""Finds the GRUs of a Keras file that has a configuration: their arguments, and the paths of their arrays."""

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fastgru.errors import FastGRUError
from fastgru.importers.files import detect_format
from fastgru.importers.keras.config import LayerConfig
from fastgru.importers.keras.container import open_container
from fastgru.importers.keras.rules import Rules
from fastgru.importers.keras.weights import LayerWeights, Store, open_weights
from fastgru.records import dataclass
from fastgru.sources import opened

__all__ = ["ConfiguredGRU", "configured_grus"]


@dataclass(frozen=True)
class ConfiguredGRU:
    """A GRU in the configuration of a Keras file.

    arguments: those of the layer, as in its configuration.
    arrays: the paths of the kernel, the recurrent kernel and the bias; empty for the nine arrays of Keras 1.
    is_cudnn: whether the arrays are in cuDNN's layout.
    """

    arguments: Mapping[str, Any]
    arrays: tuple[str, ...]
    is_cudnn: bool = False


class _Paths(Store):
    """A store that returns the path of an array instead of the array."""

    def read(self, path: str) -> Any:
        return path


def configured_grus(file: Path) -> list[ConfiguredGRU]:
    """Return every GRU of a Keras model, with keras_version among its arguments; [] for other files."""
    try:
        with opened(file) as content:
            if detect_format(content) not in ("hdf5", "keras"):
                return []
            container = open_container(content)
            model = LayerConfig.from_json(container.config, "the model")
            _, weights = open_weights(container.weights, _Paths(container.weights))
            return list(_grus(model, weights, Rules.of(container.version, container.backend)))
    except (FastGRUError, RecursionError):
        return []


def _grus(layer: LayerConfig, weights: LayerWeights, rules: Rules) -> Iterator[ConfiguredGRU]:
    """Yield this layer and the layers inside it, without those whose weights contradict the configuration."""
    try:
        inside = list(_inside(layer, weights))
        if layer.class_name in ("GRU", "CuDNNGRU", "GRUCell"):
            hard = "hard_sigmoid" if rules.major < 3 else "sigmoid"
            arguments = {
                "reset_after": rules.reset_after,
                **layer.config,
                "recurrent_activation": layer.get("recurrent_activation", "inner_activation", default=hard),
                "keras_version": rules.major,
            }
            own = weights if layer.class_name == "GRUCell" else weights.child("cell", layer)
            roles = ["kernel", "recurrent_kernel"] + ["bias"] * layer.flag("use_bias", default=True)
            paths: Any = () if weights.has("W_z") else own.take(layer, *roles)
            yield ConfiguredGRU(arguments, tuple(paths), layer.class_name == "CuDNNGRU")
    except FastGRUError:
        return
    for inner, its in inside:
        yield from _grus(inner, its, rules)


def _inside(layer: LayerConfig, weights: LayerWeights) -> Iterator[tuple[LayerConfig, LayerWeights]]:
    if isinstance(layer.config.get("layers"), list):
        layers = [LayerConfig.from_json(item, str(layer)) for item in layer.config["layers"]]
        yield from zip(layers, weights.layers(layers), strict=True)
    elif layer.class_name == "Bidirectional":
        first = layer.inner("layer")
        yield first, weights.child("forward_layer", first)
        second = first.replaced(go_backwards=not first.flag("go_backwards", default=False))
        second = layer.inner("backward_layer") if layer.config.get("backward_layer") else second
        yield second, weights.child("backward_layer", second)
    elif "layer" in layer.config:
        inner = layer.inner("layer")
        yield inner, weights.child("layer", inner)
    elif layer.class_name == "RNN":
        cell, backwards = layer.inner("cell"), layer.flag("go_backwards", default=False)
        if not isinstance(cell.config.get("cells"), list):
            yield cell.replaced(go_backwards=backwards), weights.child("cell", cell)
            return
        seen: Counter[str] = Counter()
        for n, item in enumerate(cell.config["cells"]):
            inner = LayerConfig.from_json(item, f"{cell}: cells[{n}]")
            yield (
                inner.replaced(go_backwards=backwards and n == 0),
                weights.child("cells", inner, seen[inner.class_name]),
            )
            seen[inner.class_name] += 1
