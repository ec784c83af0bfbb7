"""Chooses which nodes stay in more than 8 bits, so that the outputs stay within a bound.

Every node starts in int8. Each node alone in a low precision changes the outputs by some amount. A step up to bfloat16,
and from there to float32, removes that change at the cost of more bytes. The steps are ordered by the error that they
remove per byte. The fewest steps are taken with which the whole model, as measured, meets the bound, and steps that
prove unnecessary are undone. Only the order is an estimate.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

__all__ = ["LADDER", "choose"]

LADDER: Final = ("int8", "bfloat16", "float32")

Choice = dict[str, str]


def choose(
    ladders: Mapping[str, Sequence[str]],
    bytes_of: Callable[[str, str], int],
    alone: Callable[[str, str], float],
    excess: Callable[[Choice], float],
) -> Choice:
    """A precision for each node.

    ladders: the precisions that each node can have, smallest first, float32 last.
    alone(node, precision): the error of the outputs relative to the bound, with only this node in that precision. 1 is
        exactly at the bound.
    excess(choice): the same for a whole choice.
    """
    start = {name: ladder[0] for name, ladder in ladders.items()}
    if excess(start) <= 1:
        return start
    steps = list(_ordered(ladders, bytes_of, alone))
    enough, too_few = len(steps), 0  # with all steps taken every node is float32, and the outputs do not change
    while enough - too_few > 1:
        middle = (enough + too_few) // 2
        if excess(_taken(start, steps[:middle])) <= 1:
            enough = middle
        else:
            too_few = middle
    return _lowered(_taken(start, steps[:enough]), ladders, bytes_of, excess)


def _lowered(
    choice: Choice,
    ladders: Mapping[str, Sequence[str]],
    bytes_of: Callable[[str, str], int],
    excess: Callable[[Choice], float],
) -> Choice:
    """Undo the steps that the bound does not need, those with the most bytes first."""
    raised = [name for name, precision in choice.items() if precision != ladders[name][0]]
    for name in sorted(raised, key=lambda n: bytes_of(n, ladders[n][0]) - bytes_of(n, choice[n])):
        for lower in reversed(ladders[name][: ladders[name].index(choice[name])]):
            trial = {**choice, name: lower}
            if excess(trial) > 1:
                break
            choice = trial
    return choice


def _taken(start: Mapping[str, str], steps: Sequence[tuple[str, str]]) -> Choice:
    return {**start, **dict(steps)}


def _ordered(
    ladders: Mapping[str, Sequence[str]], bytes_of: Callable[[str, str], int], alone: Callable[[str, str], float]
) -> Iterator[tuple[str, str]]:
    """Yield (node, next precision) of every step, the largest gain per byte first; squares of errors add up."""
    places = dict.fromkeys(ladders, 0)
    costs = {(n, p): 0.0 if p == "float32" else alone(n, p) ** 2 for n, ladder in ladders.items() for p in ladder}

    def worth(name: str) -> float:
        now, then = ladders[name][places[name] : places[name] + 2]
        return (costs[name, now] - costs[name, then]) / max(bytes_of(name, then) - bytes_of(name, now), 1)

    while left := [name for name, ladder in ladders.items() if places[name] + 1 < len(ladder)]:
        name = max(left, key=worth)
        places[name] += 1
        yield name, ladders[name][places[name]]
