"""Classes of records behave as those of `dataclasses` do, whose functions take them."""

from __future__ import annotations

import dataclasses
import inspect
import pickle
import re
from collections.abc import Callable
from dataclasses import field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

import fastgru
from fastgru.records import dataclass

MAKERS = {"ours": dataclass, "the standard library's": dataclasses.dataclass}


def made(maker: Callable[..., Any], **options: bool) -> Any:
    @maker(**options)
    class Point:
        """Where."""

        scale: ClassVar[int] = 2
        x: int
        y: int = 5
        tags: dict[str, int] = field(default_factory=dict, compare=False)
        hidden: str = field(default="h", repr=False)

        def __post_init__(self) -> None:
            if self.x == 13:
                raise ValueError("unlucky")

    @maker(**options)
    class Deep(Point):
        z: float = 1.5

    return Point, Deep


@pytest.mark.parametrize("options", [{}, {"frozen": True}, {"eq": False}, {"frozen": True, "eq": False}], ids=str)
def test_they_are_those_of_the_standard_library(options: dict[str, bool]) -> None:
    def observed(maker: Callable[..., Any]) -> list[Any]:
        Point, Deep = made(maker, **options)
        p, q, deep = Point(1), Point(1, tags={"a": 1}), Deep(1, 2, z=3.0)
        seen = [
            repr(p), repr(deep), p == q, p != q, p == deep, p == Point(2), p == 1, deep == Deep(1, 2, z=3.0), p.scale,
            dataclasses.asdict(deep), [f.name for f in dataclasses.fields(Deep)], Point.y, hasattr(Point, "tags"),
            repr(dataclasses.replace(deep, y=7)), str(inspect.signature(Deep)), dataclasses.is_dataclass(p),
            Point.__match_args__, Deep.__match_args__, p.tags is Point(1).tags, Point.__doc__,
            Point.__hash__ is None, Point.__hash__ is object.__hash__,
        ]  # fmt: skip
        if options.get("frozen") and "eq" not in options:
            seen.append(len({p, q, Point(2), Point(1)}))
        for act in (
            lambda: Point(), lambda: Point(1, 2, 3, 4, 5), lambda: Point(x=1, w=2), lambda: Point(13),
            lambda: setattr(p, "x", 4), lambda: delattr(p, "x"), lambda: hash(p) and 0,
        ):  # fmt: skip
            try:
                seen.append(act())
            except Exception as error:
                seen.append((type(error), str(error).rpartition(".")[2]))
        return seen

    assert observed(dataclass) == observed(dataclasses.dataclass)


def test_the_package_has_no_others() -> None:
    """Those of the standard library take a fifth of a millisecond each to make, where every start waits for them."""
    root = Path(fastgru.__file__).parent
    made = re.compile(r"^from dataclasses import .*\bdataclass\b", re.MULTILINE)
    found = {path.relative_to(root).as_posix() for path in root.rglob("*.py") if made.search(path.read_text("utf-8"))}
    assert found == {"importers/weights/pickles.py"}, "slots are the standard library's"


@dataclass(frozen=True)
class One:
    a: Any


def test_what_one_field_holds_is_compared_as_part_of_a_tuple() -> None:
    """NaN is itself, and an array is equal to itself, not an array of answers."""
    array, nan = np.zeros(3), float("nan")
    assert One(array) == One(array)
    assert One(nan) == One(nan)
    assert One(1) != One(2)
    assert hash(One((1,))) == hash(One((1,)))
    assert pickle.loads(pickle.dumps(One(3))) == One(3)


def test_what_a_class_defines_itself_stays() -> None:
    @dataclass
    class Own:
        a: int = 0

        def __repr__(self) -> str:
            return "mine"

        def __eq__(self, other: object) -> bool:
            return True

        def __hash__(self) -> int:
            return 1

    assert (repr(Own()), Own() == 3, hash(Own())) == ("mine", True, 1)
