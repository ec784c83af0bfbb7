"""Descriptions as texts: JSON where it begins with a brace, else YAML, of which no tag is ever obeyed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from fastgru.errors import InvalidModelError
from fastgru.jsontext import parse_json
from fastgru.sources import Source, read_source, source_name

if TYPE_CHECKING:
    from yaml.nodes import MappingNode

__all__ = ["Architecture", "read_text"]

Architecture = Source | Mapping[str, Any]

LIMIT: Final = 256 << 10

# The scalars of YAML 1.2: in 1.1, which PyYAML reads, 1e-5 is a text, 010 is eight, and `no` is false.
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


def read_text(source: Source) -> tuple[Any, str]:
    """The value of a description and what messages call it.

    Raises `InvalidModelError` for a text that is neither JSON nor YAML, holds a key twice in one mapping, a tag of
    YAML, or is longer than 256 KiB; `FileNotFoundError` as it comes.
    """
    name = source_name(source)
    data = read_source(source, limit=LIMIT)
    if bytes(data[:64]).removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"{":
        return parse_json(data, what=name), name
    try:
        text = str(data, "utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidModelError(
            f"{name}: not a text in UTF-8 ({error}), expected a description in YAML or JSON"
        ) from None
    return _parse_yaml(text, name), name


def _parse_yaml(text: str, name: str) -> Any:
    import yaml

    class Loader(yaml.SafeLoader):  # type: ignore[misc]
        yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012

        def flatten_mapping(self, node: MappingNode) -> None:
            """Keys are not merged: a merge of merges grows without bounds."""

        def construct_mapping(self, node: MappingNode, deep: bool = False) -> dict[Any, Any]:
            made: dict[Any, Any] = super().construct_mapping(node, deep=deep)
            if len(made) != len(node.value):
                keys = [str(key.value)[:40] for key, _ in node.value]
                twice = next((key for key in keys if keys.count(key) > 1), "?")
                raise InvalidModelError(f"{name}: line {node.start_mark.line + 1}: the key {twice!r} is there twice")
            return made

    for tag, pattern, first in _SCALARS:
        Loader.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", pattern, first)
    try:
        return yaml.load(text, Loader)
    except InvalidModelError:
        raise
    except RecursionError:
        raise InvalidModelError(f"{name}: YAML nested too deeply") from None
    except (yaml.YAMLError, ValueError, TypeError) as error:  # ValueError: integers of thousands of digits
        raise InvalidModelError(f"{name}: not a text in YAML ({' '.join(str(error).split())[:300]})") from None
