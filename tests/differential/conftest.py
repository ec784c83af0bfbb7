"""The differential is a part of `bench/`, which is no part of the package."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2]))  # behind everything: what is tested is the package that is installed
