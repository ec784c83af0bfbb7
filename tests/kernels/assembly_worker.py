"""Print the assembly of entries for the target that FASTGRU_TARGET names, as JSON.

python assembly_worker.py name ...
"""

from __future__ import annotations

import json
import sys
from typing import Any

import llvmlite.binding as llvm

from fastgru.kernels import table
from fastgru.simd import cache

found: dict[str, str] = {}
name = ""
emit_object = llvm.TargetMachine.emit_object


def emit(machine: Any, module: Any) -> Any:
    found[name] = machine.emit_assembly(module)
    return emit_object(machine, module)


if __name__ == "__main__":
    llvm.TargetMachine.emit_object = emit
    for native in table.entries():
        if native.name in sys.argv[1:]:
            name = native.name
            native.recipe.compile(f"fastgru_{name}", cache.home(native.recipe.uses))
    print(json.dumps(found))
