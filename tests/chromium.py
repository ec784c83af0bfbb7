"""A real Chromium without a window, by its own protocol (CDP) over a WebSocket: no driver has to be installed."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from slowness import within

__all__ = ["EXECUTABLE", "Tab", "chromium"]

_NAMES: Final = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
EXECUTABLE: Final = next((path for name in _NAMES if (path := shutil.which(name))), None)
_OPTIONS: Final = (
    "--headless=new", "--remote-debugging-port=0", "--no-first-run", "--no-default-browser-check", "--disable-gpu",
    "--disable-extensions", "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage", "--hide-scrollbars", "--mute-audio", "--no-proxy-server", "--lang=en-US",
)  # fmt: skip
_KEYS: Final = {"Tab": 9, "Enter": 13, "Space": 32}


class Tab:
    """One tab. events: what Chromium has told so far, (method, parameters)."""

    def __init__(self, socket: Any) -> None:
        self._socket, self._last, self._session = socket, 0, ""
        self.events: list[tuple[str, Any]] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> Any:
        """The result of a command. Raises `RuntimeError` with what Chromium says against it."""
        self._last += 1
        message: dict[str, Any] = {"id": self._last, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        self._socket.send(json.dumps(message))
        end = time.monotonic() + within(30)
        while True:
            told = json.loads(self._socket.recv(max(0.1, end - time.monotonic())))
            if told.get("id") == self._last:
                break
            if "method" in told:
                self.events.append((told["method"], told["params"]))
        if "error" in told:
            raise RuntimeError(f"{method}: {told['error']}")
        return told["result"]

    def run(self, code: str) -> Any:
        """The value of an expression of JavaScript, which may be a promise."""
        found = self.call("Runtime.evaluate", expression=code, returnByValue=True, awaitPromise=True, userGesture=True)
        if "exceptionDetails" in found:
            raise RuntimeError(f"{code:.200}: {found['exceptionDetails']}")
        return found["result"].get("value")

    def wait(self, code: str, seconds: float = 15.0) -> Any:
        """What the expression gives as soon as that is true."""
        end = time.monotonic() + within(seconds)
        while True:
            try:
                if value := self.run(code):
                    return value
            except RuntimeError as error:  # the document has gone, and the next one is not there yet
                if not str(error).startswith("Runtime.evaluate"):
                    raise
            assert time.monotonic() < end, f"it does not come true: {code}"
            time.sleep(0.03)

    def open(self, url: str) -> None:
        """Go there; what the document loads is there when this returns."""
        self.call("Page.navigate", url=url)
        self.wait(f"document.readyState === 'complete' && location.href.startsWith({json.dumps(url)})")

    def look(self, width: int, scheme: str, height: int = 900, motion: str = "no-preference") -> None:
        """A window of this width in pixels, as for somebody who prefers "light" or "dark"."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        features = [
            {"name": "prefers-color-scheme", "value": scheme},
            {"name": "prefers-reduced-motion", "value": motion},
        ]
        self.call("Emulation.setEmulatedMedia", features=features)

    def press(self, key: str, shift: bool = False) -> None:
        """A key of the keyboard, down and up."""
        text = {"Enter": "\r", "Space": " "}.get(key)
        given: dict[str, Any] = {
            "key": " " if key == "Space" else key,
            "code": key,
            "windowsVirtualKeyCode": _KEYS[key],
            "modifiers": 8 if shift else 0,
        }
        down = {"type": "keyDown", "text": text} if text else {"type": "rawKeyDown"}
        self.call("Input.dispatchKeyEvent", **down, **given)
        self.call("Input.dispatchKeyEvent", type="keyUp", **given)

    def type(self, text: str) -> None:
        """Into what has the focus."""
        self.call("Input.insertText", text=text)

    def screenshot(self, path: Path) -> None:
        """The whole page, as a PNG."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", captureBeyondViewport=True)["data"]))


@contextmanager
def chromium(folder: Path) -> Iterator[Tab]:
    """A tab of a browser of its own, whose profile is in the folder."""
    from websockets.sync.client import connect

    assert EXECUTABLE is not None
    sandbox = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    words = [EXECUTABLE, *_OPTIONS, *sandbox, f"--user-data-dir={folder}", "about:blank"]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        port = folder / "DevToolsActivePort"
        end = time.monotonic() + within(60)
        while not (port.exists() and port.read_text().count("\n")):
            assert process.poll() is None, f"{EXECUTABLE} has ended"
            assert time.monotonic() < end, f"{EXECUTABLE} does not start"
            time.sleep(0.05)
        number, path = port.read_text().splitlines()[:2]
        with connect(f"ws://127.0.0.1:{number}{path}", compression=None, max_size=None, proxy=None) as socket:
            yield Tab(socket)
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # its helpers, too
        process.wait()
