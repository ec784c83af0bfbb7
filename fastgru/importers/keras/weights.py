"""Finds the arrays of a layer in the two layouts that Keras writes.

Legacy HDF5 files name every array after the layers around it ("bi/forward_gru/gru_cell/kernel:0"), so a layer finds its
arrays by name. The archives of Keras 3 number the arrays of a layer, and name folders after classes, counted per
container, not after layers ("layers/gru_1/cell/vars/0"), so a layer finds its arrays in the order of their creation.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final

from fastgru.arrays import Array
from fastgru.errors import InvalidModelError, UnreadTensorsError
from fastgru.importers.hdf5 import Hdf5
from fastgru.importers.keras.config import LayerConfig

__all__ = ["LayerWeights", "NoWeights", "Store", "open_weights"]


# Role of an array -> its names in files. Keras 1 wrote gru_1_W_z, and batchnormalization_1_running_std, which is the
# variance in spite of its name.
ROLES: Final = {
    "kernel": ("kernel", "W"),
    "depthwise_kernel": ("depthwise_kernel", "kernel"),
    "pointwise_kernel": ("pointwise_kernel",),
    "scale": ("scale",),
    "concat_score_weight": ("concat_score_weight",),
    "recurrent_kernel": ("recurrent_kernel", "U"),
    "bias": ("bias", "b"),
    "embeddings": ("embeddings", "W"),
    "gamma": ("gamma",),
    "beta": ("beta",),
    "moving_mean": ("moving_mean", "running_mean"),
    "moving_variance": ("moving_variance", "running_std"),
    "alpha": ("alpha", "alphas"),
    "mean": ("mean",),
    "variance": ("variance",),
    "count": ("count",),
    **{f"{k}_{gate}": (f"{k}_{gate}",) for k in ("W", "U", "b") for gate in "zrhifco"},
}
_NUMBERED: Final = re.compile(r"(^|/)vars/\d+$")
_SUFFIX: Final = re.compile(r"(_\d+)?(:\d+)?$")

# State of the training or of the random generators of dropout, which inference does not read.
_TRAINING: Final = re.compile(
    r"^(/)?(optimizer(_weights)?|_optimizer|compile_metrics|metrics|_metrics|loss_tracker)/"
    r"|(^|/)_?seed_generator(_\d+)?/|(^|/)seed_generator_state(:\d+)?$|/compile_metrics/"
)


def is_training(path: str) -> bool:
    """Return whether an array is state of the training or of a random generator."""
    return bool(_TRAINING.search(path))


class Store:
    """An open file, and the datasets that were read."""

    def __init__(self, file: Hdf5) -> None:
        self.file = file
        self._arrays: dict[str, Array] = {}

    def read(self, path: str) -> Array:
        if path not in self._arrays:
            self._arrays[path] = self.file.read(path)
        return self._arrays[path]

    def check_all_read(self) -> None:
        """Raise `UnreadTensorsError` that lists the datasets that were not read, except state of the training."""
        unread = [p for p in self.file.datasets if p not in self._arrays and not is_training(p)]
        if unread:
            shown = "".join(f"\n  {path} {self.file.datasets[path]}" for path in unread[:20])
            more = f"\n  and {len(unread) - 20} more" if len(unread) > 20 else ""
            raise UnreadTensorsError(
                f"{self.file.name}: {len(unread)} tensor(s) belong to no layer that was read (allow_unread=True accepts"
                f" that):{shown}{more}"
            )


class LayerWeights(ABC):
    """The arrays of one layer, or of the layers of one model."""

    @abstractmethod
    def take(self, layer: LayerConfig, *roles: str) -> list[Array]:
        """Return the arrays for `roles` (keys of ROLES), in this order; raise `InvalidModelError` if one is missing."""

    @abstractmethod
    def has(self, role: str) -> bool:
        """Return whether there is an array of this role; always False if arrays are numbered."""

    @abstractmethod
    def arrays(self, layer: LayerConfig) -> dict[str, Callable[[], Array]]:
        """Return functions that read each array of a layer, by the names in the file without the layer's prefix."""

    @abstractmethod
    def child(self, attribute: str, inner: LayerConfig, index: int = 0) -> LayerWeights:
        """Return the arrays of `inner`, which is this layer's cell, layer, forward_layer..., or one of its cells.

        index: how many of the cells before it have the same class.
        """

    @abstractmethod
    def layers(self, layers: Sequence[LayerConfig]) -> list[LayerWeights]:
        """Return the arrays of each layer of a model."""


def open_weights(file: Hdf5, store: Store | None = None) -> tuple[Store, LayerWeights]:
    """Return the store and the weights of a whole model, in the layout of `file`. store: an existing one to use."""
    store = store or Store(file)
    group = "model_weights/" if file.has_group("model_weights") else ""
    if not group and any(_NUMBERED.search(path) for path in file.datasets):
        return store, _NumberedWeights(store, "")
    return store, _NamedWeights(store, group, [path for path in file.datasets if path.startswith(group)], True)


class _NamedWeights(LayerWeights):
    def __init__(self, store: Store, group: str, paths: Sequence[str], top: bool = False) -> None:
        self._store, self._group, self._paths, self._top = store, group, list(paths), top

    def take(self, layer: LayerConfig, *roles: str) -> list[Array]:
        return [self._store.read(self._find(layer, role)) for role in roles]

    def has(self, role: str) -> bool:
        return bool(self._matching(role))

    def arrays(self, layer: LayerConfig) -> dict[str, Callable[[], Array]]:
        found: dict[str, Callable[[], Array]] = {}
        for path in self._paths:
            components = self._components(path)
            if components[0] == layer.name and len(components) > 1:
                del components[0]
            name = re.sub(r":\d+$", "", "/".join(components)).removeprefix(f"{layer.name}/")
            found[name] = partial(self._store.read, path)
        return found

    def child(self, attribute: str, inner: LayerConfig, index: int = 0) -> LayerWeights:
        if attribute in ("forward_layer", "backward_layer"):
            forward = [p for p in self._paths if any(c.startswith("forward_") for c in self._inner_components(p))]
            mine = forward if attribute == "forward_layer" else [p for p in self._paths if p not in set(forward)]
        elif attribute == "cells":
            mine = [p for p in self._paths if inner.name in self._components(p)[:-1]]
        elif attribute.endswith("_dense"):
            mine = [p for p in self._paths if self._components(p)[-2:-1] == [inner.name]]
        else:
            return self
        return _NamedWeights(self._store, self._group, mine)

    def layers(self, layers: Sequence[LayerConfig]) -> list[LayerWeights]:
        by_folder: dict[str, list[str]] = {}
        by_stem: dict[str, list[str]] = {}
        for path in self._paths:
            *folders, last = self._components(path)
            for folder in dict.fromkeys(folders[:1] if self._top else folders):
                by_folder.setdefault(folder, []).append(path)
            for stem in {last.rsplit("_", 1)[0], last.rsplit("_", 2)[0]}:
                by_stem.setdefault(stem, []).append(path)
        return [self._of(layer, by_folder, by_stem) for layer in layers]

    def _of(
        self, layer: LayerConfig, by_folder: Mapping[str, list[str]], by_stem: Mapping[str, list[str]]
    ) -> LayerWeights:
        if self._top:
            group = f"{self._group}{layer.name}/"
            near = by_folder.get(layer.name.split("/")[0], ())
            return _NamedWeights(self._store, group, [p for p in near if p.startswith(group)])
        # dense_1/kernel:0, or dense_1_W in Keras 1. The name of a nested model is not part of them.
        mine = by_folder.get(layer.name) or by_stem.get(layer.name)
        if mine is None and "layers" in layer.config:
            mine = self._paths
        return _NamedWeights(self._store, self._group, mine or [])

    def _components(self, path: str) -> list[str]:
        return path[len(self._group) :].split("/")

    def _inner_components(self, path: str) -> list[str]:
        components = self._components(path)
        return components[1:] or components

    def _matching(self, role: str) -> list[str]:
        stems = {path: _SUFFIX.sub("", self._components(path)[-1]) for path in self._paths}
        for name in ROLES[role]:
            if exact := [path for path, stem in stems.items() if stem == name]:
                return exact
            if ending := [
                path for path, stem in stems.items() if stem.endswith("_" + name) and not _longer(stem, name)
            ]:
                return ending
        return []

    def _find(self, layer: LayerConfig, role: str) -> str:
        found = self._matching(role)
        if len(found) != 1:
            fault = "is missing" if not found else f"could be {' or '.join(repr(p) for p in found[:4])}"
            there = ", ".join(repr(p) for p in self._paths[:12]) or "nothing"
            raise InvalidModelError(f"{layer}: its {role} {fault} (in the file for it: {there})")
        return found[0]


def _longer(stem: str, name: str) -> bool:
    """Return whether `stem` ends in a longer role that ends in `name`: recurrent_kernel is not a kernel."""
    longer = (other for names in ROLES.values() for other in names if other.endswith("_" + name))
    return any(stem == other or stem.endswith("_" + other) for other in longer)


class NoWeights(LayerWeights):
    """The weights of a function: none."""

    def take(self, layer: LayerConfig, *roles: str) -> list[Array]:
        raise InvalidModelError(f"{layer}: it has no weights")

    def has(self, role: str) -> bool:
        return False

    def arrays(self, layer: LayerConfig) -> dict[str, Callable[[], Array]]:
        return {}

    def child(self, attribute: str, inner: LayerConfig, index: int = 0) -> LayerWeights:
        return self

    def layers(self, layers: Sequence[LayerConfig]) -> list[LayerWeights]:
        return [self for _ in layers]


class _NumberedWeights(LayerWeights):
    def __init__(self, store: Store, folder: str) -> None:
        self._store, self._folder = store, folder

    def take(self, layer: LayerConfig, *roles: str) -> list[Array]:
        paths = [f"{self._folder}vars/{i}" for i in range(len(roles))]
        for role, path in zip(roles, paths, strict=True):
            if path not in self._store.file.datasets:
                raise InvalidModelError(f"{layer}: its {role} is missing, expected at {path!r} in the weights file")
        return [self._store.read(path) for path in paths]

    def has(self, role: str) -> bool:
        return False

    def arrays(self, layer: LayerConfig) -> dict[str, Callable[[], Array]]:
        mine = [path for path in self._store.file.datasets if path.startswith(self._folder) and not is_training(path)]
        mine.sort(key=lambda path: [int(part) if part.isdigit() else -1 for part in re.split(r"(\d+)", path)])
        return {path[len(self._folder) :]: partial(self._store.read, path) for path in mine}

    def child(self, attribute: str, inner: LayerConfig, index: int = 0) -> LayerWeights:
        if attribute == "cells":
            folder = f"{_snake_case(inner.class_name)}{f'_{index}' if index else ''}"
            return _NumberedWeights(self._store, f"{self._folder}cell/cells/{folder}/")
        private = f"{self._folder}_{attribute}"  # the name of MultiHeadAttention's layers in archives of TensorFlow 2
        if attribute.endswith("_dense") and self._store.file.has_group(private):
            return _NumberedWeights(self._store, f"{private}/")
        return _NumberedWeights(self._store, f"{self._folder}{attribute}/")

    def layers(self, layers: Sequence[LayerConfig]) -> list[LayerWeights]:
        """Find layers by class and position, and check the layer names that newer files have."""
        container = f"{self._folder}layers/"
        file = self._store.file
        # Archives of TensorFlow 2.12 and 2.13 have another name for the container.
        if not any(p.startswith(container) for p in file.datasets):
            older = f"{self._folder}_layer_checkpoint_dependencies/"
            container = older if any(p.startswith(older) for p in file.datasets) else container
        counts: dict[str, int] = {}
        found: list[LayerWeights] = []
        for layer in layers:
            if layer.module.startswith("keras.src.ops"):  # an operation, not a layer: it has no folder
                found.append(_NumberedWeights(self._store, "//"))
                continue
            stem = _snake_case(layer.class_name)
            n = counts[stem] = counts.get(stem, -1) + 1
            folder = f"{container}{stem}{f'_{n}' if n else ''}/"
            written = file.text(f"{folder}vars", "name") if file.has_group(f"{folder}vars") else None
            if written is not None and written != layer.name:
                raise InvalidModelError(
                    f"{layer}: the weights at {folder!r} belong to a layer {written!r}: config.json and"
                    " model.weights.h5 are not of one model"
                )
            found.append(_NumberedWeights(self._store, folder))
        return found


def _snake_case(name: str) -> str:
    """Return the folder of a class, by the rule of keras.utils.naming: PReLU -> p_re_lu."""
    name = re.sub(r"\W+", "", name)
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()
