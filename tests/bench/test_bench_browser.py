"""The page of a result in a real browser: it fits a narrow screen, follows the reader's colours, and prints light."""

from __future__ import annotations

from pathlib import Path

import pytest
from chromium import EXECUTABLE, chromium

from fastgru.bench.page import render_page
from fastgru.bench.result import Result

pytest.importorskip("matplotlib")
pytest.importorskip("websockets")
pytestmark = pytest.mark.skipif(EXECUTABLE is None, reason="no Chromium is installed")

GROUND = "getComputedStyle(document.body).backgroundColor"
WIDE = "[...document.querySelectorAll('body *')].filter(e => e.getBoundingClientRect().right > innerWidth + 1).length"


def test_the_page_fits_every_screen_and_asks_for_nothing(result: Result, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text(render_page(result), encoding="utf-8")
    with chromium(tmp_path / "profile") as tab:
        grounds = {}
        for scheme in ("light", "dark"):
            for width in (400, 1280):
                tab.look(width, scheme)
                tab.open(path.as_uri())
                assert tab.run("document.documentElement.scrollWidth <= innerWidth"), width
                assert tab.run(WIDE) == 0, width
                grounds[scheme] = tab.run(GROUND)
        assert grounds["light"] == "rgb(255, 255, 255)" != grounds["dark"]
        tab.call(
            "Emulation.setEmulatedMedia", media="print", features=[{"name": "prefers-color-scheme", "value": "dark"}]
        )
        assert tab.run(GROUND) == grounds["light"]
        asked = [told["request"]["url"] for method, told in tab.events if method == "Network.requestWillBeSent"]
        assert set(asked) == {path.as_uri()}
        assert not [told for method, told in tab.events if method == "Log.entryAdded"]
