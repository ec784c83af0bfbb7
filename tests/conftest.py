"""Fixtures of every test."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from slowness import SLOWNESS, within

# No test may fail for want of speed: machines are shared.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


# The width that a terminal or a runner of tests names would cut what commands print.
os.environ.pop("COLUMNS", None)

# Tests use `bench`, which is no part of the package. It comes last: what is tested is the package that is installed.
sys.path.append(str(Path(__file__).parents[1]))

# A shell starts what runs in the background with SIGINT ignored, and the processes that tests interrupt inherit that.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The limits of time of all tests are for this machine."""
    if SLOWNESS == 1:
        return
    usual = float(config.getoption("timeout", None) or config.getini("timeout"))
    for item in items:
        own = item.get_closest_marker("timeout")
        item.add_marker(pytest.mark.timeout(within(own.args[0] if own else usual)), append=False)


@pytest.fixture(scope="session")
def shared_models() -> Path:
    """The folder of acceptance models; tests that need it are skipped by name where it is missing."""
    folder = Path(__file__).parent.parent.parent / "shared" / "models"
    if not folder.is_dir():
        pytest.skip(f"the acceptance models are not at {folder}")
    return folder
