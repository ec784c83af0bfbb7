"""Print a hash of what int8 gives on the level that FASTGRU_TARGET names."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

from fastgru.simd.target import TARGET

sys.path.insert(0, str(Path(__file__).parent))

from lowp_cases import int8_outputs

if __name__ == "__main__":
    print(TARGET.short, hashlib.sha256(int8_outputs()).hexdigest())
