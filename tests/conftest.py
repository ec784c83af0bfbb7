"""Fixtures of every test."""

from __future__ import annotations

from pathlib import Path

import pytest

# Before anything that imports Numba: FASTGRU_ISA has to be heard first.
import fastgru.simd  # noqa: F401


@pytest.fixture(scope="session")
def shared_models() -> Path:
    """The folder of acceptance models; tests that need it are skipped by name where it is missing."""
    folder = Path(__file__).parent.parent.parent / "shared" / "models"
    if not folder.is_dir():
        pytest.skip(f"the acceptance models are not at {folder}")
    return folder
