"""A file of a small network, for processes that load it."""

from __future__ import annotations

from pathlib import Path

import pytest
from users import network


@pytest.fixture
def saved(tmp_path: Path) -> str:
    network().save(tmp_path / "model.safetensors")
    return str(tmp_path / "model.safetensors")
