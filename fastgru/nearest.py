"""Suggests similar names, for messages about a name that is not known."""

from collections.abc import Iterable
from typing import Final

from fastgru.modules import late

__all__ = ["nearest", "offered"]

_MOST_NAMES: Final = 5_000
_MOST_CHARACTERS: Final = 200


def nearest(name: str, known: Iterable[str], *, most: int = 1) -> list[str]:
    """Return at most `most` known names that are similar to `name`, the most similar first.

    Upper and lower case are the same. A name that lacks the levels before it, or has too many of them, is similar:
    "gru" and "encoder.gru".
    """
    name = name[:_MOST_CHARACTERS].casefold()
    if not name:
        return []
    spelt: dict[str, str] = {}
    for one, _ in zip(known, range(_MOST_NAMES), strict=False):
        spelt.setdefault(one[:_MOST_CHARACTERS].casefold(), one)
    ends = [one for one in spelt if one and (one.endswith(("." + name, "/" + name)) or name.endswith("." + one))]
    same = [name] if name in spelt else []
    close = late("difflib").get_close_matches(name, list(spelt), n=3 * most)
    close = [one for one in close if one.startswith(name) or 2 * _edits(name, one) <= len(name)]
    return [spelt[one] for one in dict.fromkeys([*same, *ends, *close])][:most]


def _edits(name: str, other: str) -> int:
    """Return how many characters must change to make one name the other."""
    steps = late("difflib").SequenceMatcher(None, name, other).get_opcodes()
    return sum(max(i2 - i1, j2 - j1) for step, i1, i2, j1, j2 in steps if step != "equal")


def offered(unknown: str | Iterable[str], known: Iterable[str], *, all_of_them: bool = True) -> str:
    """Return what a message suggests for unknown names: "did you mean GRU? Expected one of GRU, Linear".

    Without a similar name it is "expected one of GRU, Linear". all_of_them: list every known name even if there is a
    similar one; if False, the list appears only if there is none.
    """
    known = list(known)
    names = [unknown] if isinstance(unknown, str) else list(unknown)[:5]
    close = list(dict.fromkeys(near for name in names for near in nearest(name, known)))
    question = f"did you mean {', '.join(close)}?" if close else ""
    if close and not all_of_them:
        return question
    if not known:
        return "there are none"
    return f"{question} Expected one of {', '.join(known)}" if close else f"expected one of {', '.join(known)}"
