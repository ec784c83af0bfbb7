"""Which output is the next value of which input, told by their names.

A name is read as words: a stem that says which state it is, and at most one mark that says whether it is the value
before a step or after it. `h0` is the stem `h` with the mark `0`, `new_cached_len_1` the stem `cached len 1` with the
mark `new`. An input and an output go together where one stem is that of both and the table has their marks.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

from fastgru.graph import TensorSpec

__all__ = ["pair_states"]

# Marks of inputs, and those of outputs that go with them; "" is none, "." a number that an exporter hung on: `x.1`.
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

# Words that are written as one, and those that say nothing.
_JOINED: Final = re.compile(r"(h|c)([nxy])|(in|out|new|old|prev|next|past|present)(h|c|hidden|cell|states?|cache)")
_SILENT: Final = re.compile(r"(?<=past_)key_values\.|(?<=present_)key_values\.|:\d+$")
_WORD: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")

# What is pushed and comes out, whatever else its name says.
_SIGNALS: Final = frozenset({
    "audio", "data", "enhanced", "feat", "feats", "feature", "features", "frame", "frames", "image", "img", "input",
    "inputs", "len", "length", "lengths", "lens", "mag", "mask", "mix", "noisy", "obs", "observation", "output",
    "outputs", "pcm", "samples", "signal", "spec", "speech", "src", "wav", "waveform", "x", "y",
})  # fmt: skip


def pair_states(inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> dict[str, str]:
    """{input: output} for the names that exporters and users give to a state and to its next value.

    A pair must have one dtype and shapes that agree, where a free dimension agrees with anything. A name that could go
    with two others goes with none; and where every input would become a state there is no pair at all, because a stream
    needs something to push. Names of signals (`audio_in` and `audio_out`) are no states.
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
    """The stem and the mark of a name, in every way that it can be read."""
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
