"""Tests that ask both packages."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

import pytest
from ort_models import BOTH


@pytest.fixture(params=BOTH)
def ort(request: Any) -> ModuleType:
    module = importlib.import_module(request.param)
    module.set_default_logger_severity(4)
    return module
