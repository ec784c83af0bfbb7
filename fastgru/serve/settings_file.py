"""Settings from a YAML file, and their values from text.

Text may give numbers of bytes with a unit ("16 MiB").
"""

import dataclasses
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from fastgru.serve.settings import OF_READING, TEXTS, ModelFile, Settings, SettingsError, kind_of, named_models

__all__ = ["read_settings", "read_value"]

_UNITS: Final = {"": 1, "B": 1, "KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30}
_SIZE: Final = re.compile(r"(\d+)\s*([A-Za-z]*)")


def read_settings(path: str | Path, /, **given: Any) -> Settings:
    """Read the settings from a YAML file, a mapping with the fields of `Settings`.

    `given` takes precedence over the file. Relative paths in the file start from its folder. Raises `SettingsError` for
    a file that is not such a mapping, for unknown keys and for impossible values, and `OSError`.
    """
    import yaml

    path = Path(path)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, AttributeError, LookupError, RecursionError, ValueError) as error:  # of bad values, too
        raise SettingsError(f"{path}: the file is not YAML: {' '.join(str(error).split())}") from None
    if content is None:
        content = {}
    if not isinstance(content, dict):
        raise SettingsError(f"{path}: got {type(content).__name__}, expected a mapping of options")
    names = {str(key).replace("-", "_"): value for key, value in content.items()}
    if len(names) < len(content):
        raise SettingsError(f"{path}: the file has the same option twice, once with - and once with _")
    try:
        values = {
            field.name: _placed(field, read_value(field.name, names.pop(field.name)), path.parent)
            for field in Settings.__dataclass_fields__.values()
            if field.name in names
        }
        if isinstance(values.get("models"), tuple):  # `given` takes precedence over the options of models, too
            values["models"] = tuple(_without(given, model) for model in values["models"])
        if names:
            known = ", ".join(Settings.__dataclass_fields__)
            raise SettingsError(f"no option is called {', '.join(map(repr, names))}; the options are {known}")
        return Settings(**values | given)
    except SettingsError as error:
        raise SettingsError(f"{path}: {error}") from None


def read_value(name: str, value: Any) -> Any:
    """Return the value of the field, given text from a command line or a value from YAML.

    models may map names to paths, or to mappings with a path and options of that model. A list may be a single text,
    and a number of bytes may have a unit. A mode that YAML reads as a number (0600 becomes 384) is made octal text
    again. A value of a wrong type is returned as it is; `Settings` reports it. Raises `SettingsError` for a model whose
    mapping is wrong.
    """
    field = Settings.__dataclass_fields__[name]
    if field.name == "models" and isinstance(value, Mapping):
        return tuple(_model(str(key), given) for key, given in value.items())
    if field.type in TEXTS:
        return (value,) if isinstance(value, str) else tuple(value) if isinstance(value, list | tuple) else value
    if field.type == Path | None:
        return Path(value) if isinstance(value, str) else value
    if isinstance(value, int) and not isinstance(value, bool):
        return float(value) if field.type is float else f"{value:04o}" if name == "unix_mode" else value
    if isinstance(value, str) and kind_of(field) in (int, float):
        return _number(field, value)
    return value


def _number(field: "dataclasses.Field[Any]", text: str) -> Any:
    if field.metadata["unit"] == "bytes" and (size := _SIZE.fullmatch(text.strip())):
        scale = _UNITS.get(size[2].upper())
        return int(size[1]) * scale if scale else text
    convert: Callable[[str], Any] = kind_of(field)
    try:
        return convert(text)
    except ValueError:
        return text


def _placed(field: "dataclasses.Field[Any]", value: Any, folder: Path) -> Any:
    """Make relative paths from a settings file start from its folder."""
    if field.name == "models" and isinstance(value, tuple) and all(isinstance(v, str | ModelFile) for v in value):
        texts = tuple(f"{name}={folder / path}" for name, path in named_models(value).items())
        return tuple(
            _in_folder(m, folder) if isinstance(m, ModelFile) else t for m, t in zip(value, texts, strict=True)
        )
    return folder / value if isinstance(value, Path) else value


def _model(name: str, given: Any) -> str | ModelFile:
    """Return a model from a mapping of models. given: its path, or a mapping with its path and its options."""
    if not isinstance(given, Mapping):
        return f"{name}={given}"
    options = {str(key).replace("-", "_"): value for key, value in given.items()}
    path = options.pop("path", None)
    if not isinstance(path, str):
        raise SettingsError(
            f"models: {name}: expected the path of a file, or a mapping with path and options of fastgru.load"
        )
    if unknown := [key for key in options if key not in OF_READING]:
        raise SettingsError(
            f"models: {name}: a model has no option {', '.join(unknown)}; its options are {', '.join(OF_READING)}"
        )
    own = {key: read_value(key, value) for key, value in options.items()}
    return ModelFile(name, Path(path), own)


def _in_folder(model: ModelFile, folder: Path) -> ModelFile:
    own = {key: folder / value if isinstance(value, Path) else value for key, value in model.options.items()}
    return ModelFile(model.name, folder / model.path, own)


def _without(given: Mapping[str, Any], model: Any) -> Any:
    """Return the model without the options in `given`."""
    if not isinstance(model, ModelFile):
        return model
    own = {key: value for key, value in model.options.items() if key not in given}
    return dataclasses.replace(model, options=own)
