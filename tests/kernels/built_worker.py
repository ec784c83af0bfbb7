"""Print where entries are kept for the target that FASTGRU_TARGET names, and what is compiled, as JSON.

python built_worker.py [name ...]: of all entries, of those that are named, or of those kept at that level for "own".
"""

from __future__ import annotations

import base64
import json
import sys

from fastgru.kernels import table
from fastgru.simd import cache
from fastgru.simd.target import TARGET


def built(names: list[str]) -> dict[str, list[str]]:
    """Of each entry its level, and its object code."""
    found = {}
    for native in table.entries():
        recipe = native.recipe
        home = cache.home(recipe.uses)
        if not names or native.name in names or (names == ["own"] and home == TARGET):
            code = recipe.compile(f"fastgru_{native.name}", home)
            found[native.name] = [home.level, base64.b64encode(code).decode()]
    return found


if __name__ == "__main__":
    print(json.dumps(built(sys.argv[1:])))
