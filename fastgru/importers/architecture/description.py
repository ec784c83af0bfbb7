"""Reads a description and checks everything that does not depend on the weights.

A text that begins with a brace is JSON, any other is YAML; tags other than those of YAML 1.2 are refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from fastgru.errors import InvalidModelError, UnsupportedModelError
from fastgru.graph import TensorSpec
from fastgru.importers.architecture.options import MOST, as_mapping, as_text, show
from fastgru.importers.architecture.registry import LayerType, types
from fastgru.jsontext import parse_json
from fastgru.nearest import offered
from fastgru.records import dataclass
from fastgru.sources import Source, read_source, source_name

if TYPE_CHECKING:
    from yaml.nodes import MappingNode, Node

__all__ = ["Architecture", "Description", "LayerEntry", "parse", "read_text"]

Architecture = Source | Mapping[str, Any]

LIMIT: Final = 256 << 10

# The scalars of YAML 1.2. In YAML 1.1, which PyYAML reads, 1e-5 is a text, 010 is eight, and `no` is false.
_SCALARS: Final = (
    ("null", re.compile(r"^(?:~|null|Null|NULL|)$"), ["~", "n", "N", ""]),
    ("bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")),
    ("int", re.compile(r"^[-+]?(?:0|[1-9][0-9]*)$"), list("-+0123456789")),
    (
        "float",
        re.compile(
            r"^(?:[-+]?(?:\.[0-9]+|[0-9]+\.[0-9]*|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.nan)$"
        ),
        list("-+0123456789."),
    ),
)
_YAML: Final = "tag:yaml.org,2002:"
_TAGS: Final = ("bool", "float", "int", "map", "null", "seq", "str")

_KEYS: Final = ("inputs", "layers", "outputs", "states", "name", "key", "ignore")
_DTYPES: Final = ("float32", "float64", "int64", "int32", "bool")
_MAX_LAYERS: Final = 10_000


@dataclass(frozen=True)
class LayerEntry:
    """One layer of a description. name: "" if none is given. inputs: None if it takes the value of the layer before."""

    name: str
    kind: LayerType
    prefix: str | None
    keys: Mapping[str, str]
    inputs: tuple[str, ...] | None
    states: Mapping[str, str]
    options: Mapping[str, Any]


@dataclass(frozen=True)
class Description:
    """A checked description. outputs: pairs (output name, value), None for the value of the last layer."""

    name: str
    inputs: tuple[TensorSpec, ...]
    layers: tuple[LayerEntry, ...]
    outputs: tuple[tuple[str, str], ...] | None
    states: Mapping[str, str]
    key: str | None
    ignore: tuple[str, ...]


def parse(data: Any, what: str) -> Description:
    """Return the description in `data`.

    Raises `InvalidModelError` for anything missing or of a wrong kind, `UnsupportedModelError` for unknown types,
    options and keys; the message offers existing ones.
    """
    data = as_mapping(data, f"{what}: the description")
    if unknown := [key for key in data if key not in _KEYS]:
        raise UnsupportedModelError(f"{what}: {_unknown('key', unknown, _KEYS)}")
    if missing := [key for key in ("inputs", "layers") if not data.get(key)]:
        raise InvalidModelError(
            f"{what}: {' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing or empty"
        )
    layers = data["layers"]
    if not isinstance(layers, Sequence) or isinstance(layers, str) or len(layers) > _MAX_LAYERS:
        raise InvalidModelError(f"{what}: layers is {show(layers)}, expected a list of at most {_MAX_LAYERS} layers")
    inputs = as_mapping(data["inputs"], f"{what}: inputs")
    return Description(
        name=as_text(data.get("name") or "", f"{what}: name"),
        inputs=tuple(_input(name, form, f"{what}: input {name!r}") for name, form in inputs.items()),
        layers=tuple(_entry(layer, f"{what}: layers[{i}]") for i, layer in enumerate(layers)),
        outputs=_outputs(data.get("outputs"), f"{what}: outputs"),
        states=_names(data.get("states"), f"{what}: states"),
        key=None if data.get("key") is None else as_text(data["key"], f"{what}: key"),
        ignore=_texts(data.get("ignore"), f"{what}: ignore") or (),
    )


def _input(name: str, form: Any, what: str) -> TensorSpec:
    dtype = "float32"
    if isinstance(form, Mapping):
        if unknown := [key for key in form if key not in ("shape", "dtype")]:
            raise UnsupportedModelError(f"{what}: {_unknown('key', unknown, ('shape', 'dtype'))}")
        form, dtype = form.get("shape"), form.get("dtype", dtype)
    if dtype not in _DTYPES:
        raise UnsupportedModelError(f"{what}: dtype is {show(dtype)}, expected one of {', '.join(_DTYPES)}")
    if not isinstance(form, Sequence) or isinstance(form, str) or len(form) > 8 or not all(map(_is_size, form)):
        raise InvalidModelError(f"{what} has shape {show(form)}, expected a list of sizes, names or nulls")
    sizes = tuple(size if isinstance(size, int) else None for size in form)
    return TensorSpec(name, dtype, sizes, tuple(size if isinstance(size, str) else None for size in form))


def _is_size(size: Any) -> bool:
    if isinstance(size, str):
        return bool(size)
    return size is None or (isinstance(size, int) and not isinstance(size, bool) and 0 < size < MOST)


def _entry(layer: Any, what: str) -> LayerEntry:
    data = as_mapping({"type": layer} if isinstance(layer, str) else layer, what)
    type_name = data.get("type")
    known = types()
    if not isinstance(type_name, str) or type_name not in known:
        if type_name is None:
            raise InvalidModelError(f"{what} has no type: got {show(dict(data))}")
        raise UnsupportedModelError(f"{what}: {_unknown('type', [type_name], tuple(known))}")
    kind = known[type_name]
    what = f"{what} ({type_name})"
    if unknown := [key for key in data if key not in kind.known]:
        raise UnsupportedModelError(f"{what}: {_unknown('option', unknown, kind.known)}")
    common = ("name", "type", "prefix", "keys", "inputs", "states")
    return LayerEntry(
        name=as_text(data.get("name") or "", f"{what}: name"),
        kind=kind,
        prefix=None if data.get("prefix") is None else as_text(data["prefix"], f"{what}: prefix").rstrip("."),
        keys=_names(data.get("keys"), f"{what}: keys"),
        inputs=_texts(data.get("inputs"), f"{what}: inputs"),
        states=_names(data.get("states"), f"{what}: states"),
        options={key: value for key, value in data.items() if key not in common and key not in kind.training},
    )


def _outputs(value: Any, what: str) -> tuple[tuple[str, str], ...] | None:
    if isinstance(value, Mapping):
        return tuple(_names(value, what).items())
    names = _texts(value, what)
    return None if names is None else tuple((name, name) for name in names)


def _names(value: Any, what: str) -> Mapping[str, str]:
    return {} if value is None else {k: as_text(v, f"{what}: {k}") for k, v in as_mapping(value, what).items()}


def _texts(value: Any, what: str) -> tuple[str, ...] | None:
    if value is None:
        return None
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, Sequence) or not all(isinstance(v, str) for v in values):
        raise InvalidModelError(f"{what} is {show(value)}, expected a name or a list of names")
    return tuple(values)


def _unknown(what: str, unknown: Sequence[Any], known: Sequence[str]) -> str:
    return f"{what} {', '.join(show(key) for key in unknown[:5])} does not exist; {offered(map(str, unknown), known)}"


def read_text(source: Source) -> tuple[Any, str]:
    """Return the value of a JSON or YAML text, and its name in messages.

    Raises `InvalidModelError` for a text that is neither JSON nor YAML, has a key twice in one mapping or an unknown
    tag, or is longer than 256 KiB; `FileNotFoundError`.
    """
    name = source_name(source)
    data = read_source(source, limit=LIMIT)
    if bytes(data[:64]).removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"{":
        return parse_json(data, what=name), name
    try:
        text = str(data, "utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidModelError(
            f"{name}: the file is not UTF-8 ({error}), expected a description in YAML or JSON"
        ) from None
    return _parse_yaml(text, name), name


def _parse_yaml(text: str, name: str) -> Any:
    import yaml

    class Loader(yaml.SafeLoader):  # type: ignore[misc]
        yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012

        def flatten_mapping(self, node: MappingNode) -> None:
            """Do not merge keys, because a merge of merges grows without bounds."""

        def construct_mapping(self, node: MappingNode, deep: bool = False) -> dict[Any, Any]:
            made: dict[Any, Any] = super().construct_mapping(node, deep=deep)
            if len(made) != len(node.value):
                keys = [str(key.value)[:40] for key, _ in node.value]
                twice = next((key for key in keys if keys.count(key) > 1), "?")
                raise InvalidModelError(f"{name}: line {node.start_mark.line + 1}: the key {twice!r} occurs twice")
            return made

        def construct_object(self, node: Node, deep: bool = False) -> Any:
            tag, line = node.tag.removeprefix(_YAML), f"{name}: line {node.start_mark.line + 1}"
            if node.tag == tag or tag not in _TAGS:
                given = node.tag if node.tag == tag else f"!!{tag}"
                tags = ", ".join(f"!!{known}" for known in _TAGS)
                raise InvalidModelError(f"{line}: the tag {given:.80} is not implemented, expected one of {tags}")
            if tag in forms and isinstance(node.value, str) and not forms[tag].match(node.value):
                raise InvalidModelError(f"{line}: {node.value[:80]!r} is not of the type that its tag !!{tag} says")
            return super().construct_object(node, deep=deep)

    forms = {tag: pattern for tag, pattern, _ in _SCALARS if tag != "float"}
    forms["float"] = re.compile("|".join(pattern.pattern for tag, pattern, _ in _SCALARS if tag in ("int", "float")))
    for tag, pattern, first in _SCALARS:
        Loader.add_implicit_resolver(f"{_YAML}{tag}", pattern, first)
    try:
        return yaml.load(text, Loader)
    except InvalidModelError:
        raise
    except RecursionError:
        raise InvalidModelError(f"{name}: the YAML is nested too deeply") from None
    except (yaml.YAMLError, ValueError, TypeError) as error:  # ValueError: integers of thousands of digits
        raise InvalidModelError(f"{name}: the text is not YAML ({' '.join(str(error).split())[:300]})") from None
