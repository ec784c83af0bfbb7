"""Compares the results of the bench with the ratios that the project sets as goals.

    fastgru bench --suite full --threads 1,2 --json result.json
    python tools/bench_goals.py result.json...

It prints a line for each missed goal; the exit status is 1 if there is one.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from fastgru.bench.result import Result, Row
from fastgru.bench.words import ratio_of
from fastgru.errors import FastGRUError

__all__ = ["GOALS", "OVER", "OWN", "main", "misses"]

_NOISE: Final = 0.03  # of a ratio whose goal is 1, "no slower"
_LOWP: Final = ("int8", "bfloat16")

# The least time of the best rival over ours: by case, on one thread, two threads...
GOALS: Final[Mapping[str, tuple[float, ...]]] = {
    **{f"step-h{H}": (5.0, 1.0) for H in (8, 16, 32)},
    "step-h64": (4.5, 1.0),
    "step-h128": (3.5, 1.0),
    "step-h256": (2.8, 1.0),
    "step-h512": (1.4, 1.3),
    "step-h1024": (1.08, 1.3),
    "sequence-t100-n1-h64": (1.5, 1.2),
    "sequence-t100-n1-h128": (1.5, 1.5),
    "sequence-t100-n1-h256": (1.7, 2.0),
    "sequence-t100-n1-h512": (1.5, 1.6),
    "sequence-t100-n1-h1024": (1.12, 1.4),
    "sequence-t50-n8-h256": (1.1, 1.1),
    "sequence-t50-n32-h128": (1.25, 1.1),
    "sequence-t50-n32-h256": (1.15, 1.1),
    "sequence-t50-n32-h512": (1.1, 1.1),
    "sequence-t50-n32-h1024": (1.1, 1.1),
    "sequence-t50-n128-h512": (1.05, 1.05),
    "sequence-t50-n128-h1024": (1.05, 1.05),
    "sequence-t100-n1-h256-before": (1.5, 1.1),
    "sequence-t50-n32-h256-before": (1.2, 1.1),
    "sequence-t100-n32-h256-lengths": (1.5, 1.5),
    "sequence-t50-n1-h128-3layers-both": (1.4, 1.4),
    "sequence-t50-n32-h128-3layers-both": (1.15, 1.15),
    "block-t1000-h8": (50.0, 50.0),
    "block-t1000-h16": (30.0, 30.0),
    "block-t1000-h32": (13.0, 13.0),
    "block-t1000-h64": (5.0, 5.0),
    "step-h128-int8": (5.0,),
    "step-h128-bfloat16": (4.0,),
    "step-h256-int8": (5.5,),
    "step-h256-bfloat16": (4.0,),
    "step-h512-int8": (14.0,),
    "step-h512-bfloat16": (2.5,),
    "step-h1024-int8": (4.2,),
    "step-h1024-bfloat16": (2.0,),
    "sequence-t100-n1-h256-int8": (3.5,),
    "sequence-t100-n1-h256-bfloat16": (2.0,),
    "sequence-t100-n1-h512-int8": (9.0,),
    "sequence-t100-n1-h512-bfloat16": (4.0,),
    "sequence-t100-n1-h1024-int8": (4.2,),
    "sequence-t100-n1-h1024-bfloat16": (2.0,),
    **{
        f"sequence-t50-{size}-{precision}": (1.2,)
        for size in ("n8-h256", "n32-h128", "n32-h256", "n32-h512", "n32-h1024", "n128-h512", "n128-h1024")
        for precision in _LOWP
    },
}
# The goal of all other cases on one and two threads: no rival is faster.
_ELSE: Final = (1.0, 1.0)
# The contender that a goal is about, if it is not the best rival in float32.
OVER: Final[Mapping[str, str]] = {
    **{slug: "onnxruntime" for slug in GOALS if slug.startswith("block")},
    **{slug: "fastgru bfloat16" for slug in GOALS if slug.startswith("sequence-t50") and slug.endswith("int8")},
    **{slug: "openvino bfloat16" for slug in GOALS if slug.startswith("sequence-t50") and slug.endswith("bfloat16")},
}
# The least time of ours on one thread over that on two.
OWN: Final[Mapping[str, float]] = {
    "sequence-t100-n1-h512": 3.0,
    **{f"sequence-t100-n1-h1024-{precision}": 2.0 for precision in _LOWP},
}


def misses(row: Row) -> Iterator[str]:
    """Yield the fault of a row and the goals that it misses, each in a few words."""
    if row.trouble:
        yield row.trouble
    goals = GOALS.get(row.slug, _ELSE)
    against = OVER.get(row.slug) or row.best_rival
    rival = row.ratios.get(against or "")
    if rival is not None and row.threads <= len(goals) and rival.median < goals[row.threads - 1]:
        yield f"{ratio_of(rival.median)} {against}, the goal is {goals[row.threads - 1]:g}x"
    wide = row.ratios.get("fastgru float32")
    if wide is not None and wide.median < 1 - _NOISE:
        yield f"{ratio_of(wide.median)} our own float32: slower than it"
    is_call = row.case is not None and row.case.kind in ("step", "block") and row.case.precision == "float32"
    own = OWN.get(row.slug, 1.0 if is_call else None) if row.threads == 2 else None
    if own is not None and row.own_ratio is not None and row.own_ratio.median < own - _NOISE:
        yield f"{ratio_of(row.own_ratio.median)} our own one thread, the goal is {own:g}x"


def main(arguments: Sequence[str]) -> int:
    """Return exit status 0, 1 if a goal is missed, or 2 with a line on standard error."""
    if not arguments or any(argument.startswith("-") for argument in arguments):
        print("usage: python tools/bench_goals.py RESULT.json...", file=sys.stderr)
        return 2
    try:
        results = [Result.from_json(Path(name).read_text(encoding="utf-8")) for name in arguments]
    except (FastGRUError, OSError) as error:
        print(f"bench_goals: {error}", file=sys.stderr)
        return 2
    rows = [row for result in results for row in result.rows]
    found = [f"{row.title}, {row.threads} thread(s): {words}" for row in rows for words in misses(row)]
    print("\n".join([*found, f"{len(found)} goals missed in {len(rows)} measurements"]))
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
