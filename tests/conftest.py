"""Fixtures of every test."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# No test may fail for want of speed: machines are shared.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


# The width that a terminal or a runner of tests names would cut what commands print.
os.environ.pop("COLUMNS", None)


@pytest.fixture(scope="session")
def shared_models() -> Path:
    """The folder of acceptance models; tests that need it are skipped by name where it is missing."""
    folder = Path(__file__).parent.parent.parent / "shared" / "models"
    if not folder.is_dir():
        pytest.skip(f"the acceptance models are not at {folder}")
    return folder
