"""Print where entries are kept for the target that FASTGRU_TARGET names, and what is compiled, as JSON.

python built_worker.py [name ...]: of all entries, or of those that are named.
"""

from __future__ import annotations

import base64
import json
import sys

from fastgru.kernels import table
from fastgru.simd import cache


def built(names: list[str]) -> dict[str, list[str]]:
    """Of each entry its level, and its object code."""
    found = {}
    for native in table.entries():
        if not names or native.name in names:
            recipe = native.recipe
            home = cache.home(recipe.uses)
            code = recipe.compile(f"fastgru_{native.name}", home)
            found[native.name] = [home.level, base64.b64encode(code).decode()]
    return found


if __name__ == "__main__":
    print(json.dumps(built(sys.argv[1:])))
