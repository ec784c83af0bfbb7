"""Pairs each state input with the output that is its next value, by their names.

A name is split into words: a stem that identifies the state, and at most one mark that tells the value before a step
from the value after it. `h0` is the stem `h` with the mark `0`, `new_cached_len_1` the stem `cached len 1` with the
mark `new`. An input and an output match if they have the same stem and the table lists their two marks together.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

from fastgru.graph import TensorSpec

__all__ = ["pair_states"]

# Marks of inputs, and the marks of outputs that match them. "": no mark; ".": a number from an exporter, as in `x.1`.
_TABLE: Final = (
    (("in", "input", "initial", "init", "0", "prev", "previous", "old", "past", "before", "last", "."),
     ("out", "output", "final", "n", "next", "new", "present", "after", "updated", "current", "curr")),
    (("initial", "init", "prev", "previous", "old", "past", "."), ("",)),
    (("",), ("out", "output", "final", "n", "next", "new", "present", "after", "updated", "r", ".")),
    (("i",), ("o",)),
    (("x",), ("y",)),
    (("initial", "init"), ("y",)),
    ((".",), (".",)),
)  # fmt: skip
_GOES: Final = frozenset((before, after) for befores, afters in _TABLE for before in befores for after in afters)

# Two words that are often written as one, and parts of names without meaning.
_JOINED: Final = re.compile(r"(h|c)([nxy])|(in|out|new|old|prev|next|past|present)(h|c|hidden|cell|states?|cache)")
_SILENT: Final = re.compile(r"(?<=past_)key_values\.|(?<=present_)key_values\.|:\d+$")
_WORD: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")

# Words of the names of signals: a stem of these words alone does not name a state.
_SIGNALS: Final = frozenset({
    "audio", "data", "enhanced", "feat", "feats", "feature", "features", "frame", "frames", "image", "img", "input",
    "inputs", "len", "length", "lengths", "lens", "mag", "mask", "mix", "noisy", "obs", "observation", "output",
    "outputs", "pcm", "samples", "signal", "spec", "speech", "src", "wav", "waveform", "x", "y",
})  # fmt: skip


def pair_states(inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> dict[str, str]:
    """Return {input: output} for the names that exporters and users give to a state and to its next value.

    The two must have the same dtype and agreeing shapes; a free dimension agrees with any size. A name that matches two
    others is not paired. If every input would become a state, nothing is paired, because a stream needs an input to
    push. Names of signals (`audio_in` and `audio_out`) are not states, unless only the number that an exporter appends
    tells them apart (`x.1` and `x`).
    """
    found: dict[str, str] = {}
    for spec in inputs:
        names = dict.fromkeys(o.name for o in outputs if spec.agrees(o) and _go_together(spec.name, o.name))
        if len(names) == 1:
            found[spec.name] = names.popitem()[0]
    taken = Counter(found.values())
    found = {source: target for source, target in found.items() if taken[target] == 1}
    return {} if len(found) == len(inputs) else found


def _go_together(source: str, target: str) -> bool:
    return any(
        stem == other and (mark, next_mark) in _GOES
        for stem, mark in _readings(source)
        for other, next_mark in _readings(target)
    )


def _readings(name: str) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield each possible (stem, mark) of a name."""
    plain = _SILENT.sub("", name)
    words = _words(plain)
    yield words, ""
    if number := re.search(r"\.\d+$", plain):
        yield _words(plain[: number.start()]), "."
    for i, word in enumerate(words):
        stem = words[:i] + words[i + 1 :]
        if any(map(str.isalpha, stem)) and not set(stem) <= _SIGNALS:
            yield stem, word


def _words(name: str) -> tuple[str, ...]:
    found: list[str] = []
    for word in map(str.lower, _WORD.findall(name)):
        joined = _JOINED.fullmatch(word)
        found += [part for part in joined.groups() if part] if joined else [word]
    return tuple(found)
