"""Reads untrusted JSON: with limits, without repeated keys, and with the errors of this package."""

import json
from typing import Any, Final

from fastgru.errors import InvalidModelError
from fastgru.sources import Source, read_source, source_name

__all__ = ["JSON_LIMIT", "load_json", "parse_json"]

# Python objects made from JSON take up to 24 times the size of the text, and objects with keys take the most time.
# These limits keep one read below 1 GiB and a few seconds.
JSON_LIMIT: Final = 32 << 20
MAX_LISTS: Final = 4_000_000
MAX_KEYS: Final = 1_000_000


def load_json(source: Source, *, limit: int = JSON_LIMIT) -> Any:
    """Return the value of the JSON text in `source`, of at most `limit` bytes. Raises the errors of `parse_json`."""
    return parse_json(read_source(source, limit=limit), what=source_name(source))


def parse_json(text: str | memoryview | bytes, *, what: str) -> Any:
    """Return the value of a JSON text. NaN and Infinity are numbers, because Python's own writer makes them.

    Raises `InvalidModelError` for a text that is not UTF-8 or not JSON, is nested too deeply, repeats a key in an
    object, or holds more lists or keys than the limits of this module.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) != len(pairs):
            seen: set[str] = set()
            twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
            raise InvalidModelError(f"{what}: the key {twice[:80]!r} occurs twice in one object")
        return result

    try:
        text = text if isinstance(text, str) else str(text, "utf-8-sig")
        if text.count("[") > MAX_LISTS or text.count("{") > MAX_KEYS or text.count(":") > MAX_KEYS:
            raise InvalidModelError(f"{what}: the JSON has more than {MAX_LISTS} lists or {MAX_KEYS} keys")
        return json.loads(text, object_pairs_hook=unique)
    except InvalidModelError:
        raise
    except RecursionError:
        raise InvalidModelError(f"{what}: the JSON is nested too deeply") from None
    except ValueError as error:  # json.JSONDecodeError, UnicodeDecodeError, and integers of thousands of digits
        raise InvalidModelError(f"{what}: the text is not JSON ({str(error)[:200]})") from None
