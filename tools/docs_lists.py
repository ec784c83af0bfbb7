"""Makes lists of docstrings' paragraphs with lines `name: what it is`. The site's generator uses it."""

import re
from typing import Any, Final

from griffe import Extension, Object

__all__ = ["DocstringLists", "as_list"]

_ENTRY: Final = re.compile(r"^(?P<names>\w+(?:, \w+)*): (?P<what>.*)$")


class DocstringLists(Extension):
    """Rewrites every docstring as it is read."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        if obj.docstring is not None:
            paragraphs = obj.docstring.value.split("\n\n")
            obj.docstring.value = "\n\n".join(as_list(text) or text for text in paragraphs)


def as_list(paragraph: str) -> str | None:
    """Return the lines `name: what it is` of a paragraph as a Markdown list, or None for another paragraph.

    A line of another form continues the entry before it.
    """
    entries: list[list[str]] = []
    for line in paragraph.splitlines():
        match = _ENTRY.match(line)
        if match:
            entries.append([f"- `{match['names'].replace(', ', '`, `')}`: {match['what']}"])
        elif entries:
            entries[-1].append(line.strip())
        else:
            return None
    return "\n".join(" ".join(lines) for lines in entries)
