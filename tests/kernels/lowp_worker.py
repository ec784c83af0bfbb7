"""Print a hash of what int8 gives on the instruction set that FASTGRU_ISA names."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

from fastgru.simd.cpu import ISA  # before anything imports numba

sys.path.insert(0, str(Path(__file__).parent))

from lowp_cases import int8_outputs

if __name__ == "__main__":
    print(ISA, hashlib.sha256(int8_outputs()).hexdigest())
