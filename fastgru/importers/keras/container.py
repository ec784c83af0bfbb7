"""Opens Keras files: the configuration, the version of Keras, and the HDF5 file of the weights.

A .keras archive and a legacy .h5 contain all three; `model.to_json` and `model.save_weights` write two files.
"""

from collections.abc import Mapping
from typing import Any

from fastgru.errors import InvalidModelError, UnsupportedModelError, WeightsAloneError
from fastgru.importers.archive import Archive
from fastgru.importers.files import detect_format
from fastgru.importers.hdf5 import Hdf5
from fastgru.importers.keras.config import as_mapping
from fastgru.jsontext import load_json
from fastgru.records import dataclass
from fastgru.sources import Content, Source, opened

__all__ = ["Container", "find_configuration", "open_container", "open_pair"]


@dataclass(frozen=True)
class Container:
    """config: the JSON of the model. version: the version of Keras, None if the file does not give it."""

    config: Any
    version: str | None
    backend: str | None
    format: str
    weights: Hdf5


def open_container(source: Content) -> Container:
    """Open a .keras archive or a legacy .h5 file that holds a whole model.

    Raises `InvalidModelError` for a damaged file, `UnsupportedModelError` for weights without a model.
    """
    kind = detect_format(source)
    if kind == "keras":
        return _open_archive(source)
    if kind == "hdf5":
        return _open_legacy(source)
    raise InvalidModelError(f"{source.name}: expected a Keras model (.keras, .h5, .hdf5), this is {kind}")


def find_configuration(architecture: Source | Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the configuration that `model.to_json` wrote, from its text or parsed JSON; None for anything else."""
    data: Any = architecture
    if not isinstance(architecture, Mapping):
        with opened(architecture) as content:
            head = bytes(content[:64])
            data = load_json(content) if head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"{" else None
    if isinstance(data, Mapping) and isinstance(data.get("class_name"), str) and "config" in data:
        return data
    return None


def open_pair(config: Any, source: Content) -> Container:
    """Open a configuration from `model.to_json` and a file from `model.save_weights`, in either layout.

    The version comes from the configuration or from the weights; Keras 3 writes it to neither.

    Raises `InvalidModelError` for a damaged file, `UnsupportedModelError` for one with a configuration of its own.
    """
    name, kind = source.name, detect_format(source)
    own = f"{name}: this file contains its own configuration: leave architecture= out"
    if kind == "keras":
        raise UnsupportedModelError(own)
    if kind != "hdf5":
        raise InvalidModelError(f"{name}: expected the weights of a Keras model (.weights.h5, .h5), this is {kind}")
    config = as_mapping(config, "the configuration of the model")
    file = Hdf5(source)
    if file.text("/", "model_config") is not None:
        raise UnsupportedModelError(own)
    version = config.get("keras_version") or file.text("/", "keras_version") or ("3" if "module" in config else None)
    backend = file.text("/", "backend") or config.get("backend")
    for what, value in (("keras_version", version), ("backend", backend)):
        if not isinstance(value, str | None):
            raise InvalidModelError(f"{what} is {value!r:.40}, expected a text")
    return Container(config, version, backend, "keras-json", file)


def _open_archive(source: Content) -> Container:
    archive, name = Archive(source), source.name
    if (described := archive.find("config.json")) is None:
        raise InvalidModelError(f"{name}: this .keras archive has no config.json")
    folder = described.removesuffix("config.json")
    if f"{folder}model.weights.h5" not in archive:
        held = ", ".join(repr(member[:40]) for member in list(archive)[:8])
        raise UnsupportedModelError(
            f"{name}: this .keras archive holds {held}, and no model.weights.h5: save the model with"
            " model.save(path), without weights_format or sharding"
        )
    config = load_json(archive.open(described))
    about = f"{folder}metadata.json"
    metadata: Any = load_json(archive.open(about)) if about in archive else {}
    version = as_mapping(metadata, f"{name}: metadata.json").get("keras_version", "3")
    if not isinstance(version, str):
        raise InvalidModelError(f"{name}: metadata.json: keras_version is {version!r}, expected a text")
    return Container(config, version, None, "keras", Hdf5(archive.open(f"{folder}model.weights.h5")))


def _open_legacy(source: Content) -> Container:
    name, file = source.name, Hdf5(source)
    config = file.text("/", "model_config")
    if config is None:
        raise WeightsAloneError(
            f"{name}: this HDF5 file has weights but no model (no attribute model_config): give what"
            " model.to_json() gave as architecture=, save the whole model with model.save(path), or read the arrays"
            " with fastgru.read_weights and make layers of them with fastgru.GRU.from_keras"
        )
    if not file.has_group("model_weights"):
        raise InvalidModelError(f"{name}: the group model_weights is missing")
    version = file.text("/", "keras_version") or file.text("model_weights", "keras_version")
    backend = file.text("/", "backend") or file.text("model_weights", "backend")
    text = Content(memoryview(config.encode()), f"{name}: model_config")
    return Container(load_json(text), version, backend, "keras-h5", file)
