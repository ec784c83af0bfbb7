"""The page in a real Chromium, with 200 sessions: what it shows, what it asks, and that everybody can use it."""

from __future__ import annotations

import asyncio
import hashlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from chromium import EXECUTABLE, Tab, chromium
from protocol_models import of_dtype, stateful, stateless
from slowness import within

from fastgru import serve

pytest.importorskip("uvicorn", reason="not installed: the extra `serve`")
pytest.importorskip("orjson", reason="not installed: the extra `serve`")
pytest.importorskip("prometheus_client", reason="not installed: the extra `serve`")
if EXECUTABLE is None:
    pytest.skip("not installed: Chromium, in Debian the package chromium", allow_module_level=True)

LIVE = 200
FRAME = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 1, 8], "data": [0.5] * 8}]}
LOOKS = [(width, scheme) for width in (400, 1280) for scheme in ("light", "dark")]
LISTED = "document.querySelectorAll('#sessions tbody tr').length"

# Of every text that is seen, and of the borders and lines that mean something: their contrast with what is behind them.
CONTRASTS = """(() => {
  const channels = (colour) => {
    const context = new OffscreenCanvas(1, 1).getContext("2d");
    context.fillStyle = colour;
    context.fillRect(0, 0, 1, 1);
    return [...context.getImageData(0, 0, 1, 1).data];
  };
  const luminance = (colour) => channels(colour).slice(0, 3).map((n) => n / 255)
    .map((n) => (n <= 0.04045 ? n / 12.92 : ((n + 0.055) / 1.055) ** 2.4))
    .reduce((sum, n, i) => sum + n * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (node) => {
    for (; node; node = node.parentElement) {
      const colour = getComputedStyle(node).backgroundColor;
      if (channels(colour)[3] === 255) return colour;
    }
    return "white";
  };
  const ratio = (one, other) => {
    const [low, high] = [luminance(one), luminance(other)].sort((a, b) => a - b);
    return (high + 0.05) / (low + 0.05);
  };
  const found = [];
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const node = texts.currentNode.parentElement;
    if (!texts.currentNode.data.trim() || !node.checkVisibility()) continue;
    found.push([node.id || node.className || node.tagName, ratio(getComputedStyle(node).color, behind(node)), 4.5]);
  }
  for (const [nodes, what] of [["button, input, select, textarea", "borderTopColor"], [".bar", "backgroundColor"]]) {
    for (const node of document.querySelectorAll(nodes)) {
      if (!node.checkVisibility()) continue;
      found.push([node.id || node.className, ratio(getComputedStyle(node)[what], behind(node.parentElement)), 3]);
    }
  }
  const canvas = getComputedStyle(document.getElementById("chart"));
  const lines = [1, 2, 3, 4, 5, 6].map((n) => `--line-${n}`);
  for (const name of [...lines, "--focus", "--good", "--warn", "--bad"]) {
    for (const place of ["--card", "--page"]) {
      found.push([name, ratio(canvas.getPropertyValue(name), canvas.getPropertyValue(place)), 3]);
    }
  }
  return found;
})()"""

# Everything that is reached by Tab, in the order of the document.
REACHED = """[...document.querySelectorAll("a[href], button, input, select, textarea, [tabindex='0']")]
  .filter((node) => node.checkVisibility() && !node.matches(":disabled")).map((node) => node.id || node.className)"""

ACTIVE = """(() => {
  const node = document.activeElement;
  const { outlineStyle, outlineWidth } = getComputedStyle(node);
  const box = node.getBoundingClientRect();
  const seen = box.left >= 0 && box.right <= innerWidth && box.bottom > 0 && box.top < innerHeight;
  const outlined = outlineStyle !== "none" && parseFloat(outlineWidth) >= 2;
  return [node === document.body ? "" : node.id || node.className, outlined && seen];
})()"""


BEYOND = """[...document.querySelectorAll("main *")]
  .filter((node) => node.getBoundingClientRect().right > innerWidth + 0.5).map((node) => node.outerHTML.slice(0, 80))"""

FIGURES = """Object.fromEntries([...document.querySelectorAll("#stream-figures > div")]
  .map((entry) => [entry.children[0].textContent, entry.children[1].textContent]))"""

STREAMS = [("frames", "sine"), ("frames", "voice"), ("ratio", "noise"), ("longs", "noise"), ("bools", "sine")]


@contextmanager
def served(models: Any, **options: Any) -> Iterator[str]:
    """The URL of a server. It goes down at the end."""
    found: list[Any] = []
    ready = threading.Event()

    def started(server: Any) -> None:
        found.append((server, asyncio.get_running_loop()))
        ready.set()

    given = {"started": started, "port": 0, "drain_seconds": 0.2, **options}
    thread = threading.Thread(target=serve.run, args=(models,), kwargs=given)
    thread.start()
    assert ready.wait(within(60))
    server, loop = found[0]
    try:
        yield server.urls[0]
    finally:
        if thread.is_alive():
            loop.call_soon_threadsafe(server.stop)
        thread.join(within(30))
        assert not thread.is_alive()


class Client:
    """One connection to a server."""

    def __init__(self, url: str, key: str = "") -> None:
        self._http = HTTPConnection(url.rpartition("/")[2], timeout=within(30))
        self._headers = {"Authorization": f"Bearer {key}".encode()} if key else {}

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """(status, JSON)."""
        self._http.request(method, path, None if body is None else json.dumps(body), self._headers)
        reply = self._http.getresponse()
        return reply.status, json.loads(reply.read())

    def begin(self, *ids: Any) -> None:
        """Sequences of the model `frames`."""
        for name in ids:
            query = f"sequence_id={name}&sequence_start=true"
            assert self.ask("POST", f"/v2/models/frames/infer?{query}", FRAME)[0] == 200


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    with chromium(tmp_path_factory.mktemp("chromium")) as found:
        yield found


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    models = {"frames": stateful(), "ratio": stateless(), "longs": of_dtype("int64"), "bools": of_dtype("bool")}
    with served(models) as found:
        with Client(found) as client:
            client.begin(*range(1, LIVE + 1))
        yield found


@pytest.fixture
def page(tab: Tab, url: str) -> Iterator[Tab]:
    """The page, opened; in the end, nothing has failed in it, and nothing was asked of others."""
    tab.events.clear()
    tab.look(1280, "light")
    tab.open(url)
    tab.wait(f"{LISTED} === 100")
    yield tab
    assert complaints(tab) == []
    assert {asked.split("/")[2] for asked in requests(tab)} == {url.rpartition("/")[2]}


def complaints(tab: Tab) -> list[Any]:
    """What the console has, but for answers that are errors, which are the server's."""
    tab.run("0")
    kinds = "Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded"
    said = [given for kind, given in tab.events if kind in kinds]
    return [given for given in said if given.get("entry", {}).get("source") != "network"]


def requests(tab: Tab) -> list[str]:
    asked = [given["request"]["url"] for kind, given in tab.events if kind == "Network.requestWillBeSent"]
    return asked + [given["url"] for kind, given in tab.events if kind == "Network.webSocketCreated"]


def text(tab: Tab, name: str) -> str:
    return str(tab.run(f"document.getElementById({name!r}).textContent"))


def click(tab: Tab, name: str) -> None:
    tab.run(f"document.getElementById({name!r}).click()")


def choose(tab: Tab, name: str, value: str) -> None:
    tab.run(f"(() => {{ const node = document.getElementById({name!r}); node.value = {value!r};"
            " node.dispatchEvent(new Event('change', {bubbles: true})); })()")  # fmt: skip


@pytest.mark.parametrize(("width", "scheme"), LOOKS)
def test_it_fits_the_window_and_can_be_read(page: Tab, width: int, scheme: str) -> None:
    page.look(width, scheme)
    click(page, "stream-start")
    page.run("document.querySelector('#request .main').click()")
    page.wait("!document.getElementById('answer').hidden && document.querySelectorAll('#legend li').length === 3")
    page.run("document.getElementById('no-refusals').hidden || (document.getElementById('refusals').hidden = false)")
    assert page.run("document.documentElement.scrollWidth") == width
    assert page.run(BEYOND) == []
    contrasts = page.run(CONTRASTS)
    assert len(contrasts) > 300
    assert [each for each in contrasts if each[1] < each[2]] == []
    click(page, "stream-stop")


def test_it_shows_what_the_server_is_and_does(page: Tab, url: str) -> None:
    assert "200 sessions" in text(page, "sessions-note").replace("201", "200")
    assert "100 more are not listed" in text(page, "sessions-note").replace("101", "100")
    cards = page.run("[...document.querySelectorAll('#models article')].map((n) => n.innerText)")
    assert [card.split()[:2] for card in cards] == [[name, "ready"] for name in ("frames", "ratio", "longs", "bools")]
    assert "x FP32 [any, any, 8]" in cards[0]
    assert "h0 FP32 [1, any, 8]" in cards[0]
    choose(page, "window", "start")
    assert page.run("document.querySelectorAll('#times .bar').length") >= 1
    with Client(url) as client:
        client.begin("newest")
        page.wait("document.querySelector('#sessions tbody th').textContent === 'newest'")
        client.ask("DELETE", "/v2/models/frames/sequences/newest")
        page.wait("document.querySelector('#sessions tbody th').textContent !== 'newest'")
        client.begin(2**64 - 1)
        page.wait(f"document.querySelector('#sessions tbody th').textContent === '{2**64 - 1}'")
        client.ask("DELETE", f"/v2/models/frames/sequences/{2**64 - 1}")
        client.ask("POST", "/v2/models/frames/infer?sequence_id=999999", FRAME)
    page.wait("document.getElementById('health').dataset.level === 'warn'")
    assert "unknown_sequence" in text(page, "health-more")
    assert "unknown_sequence" in text(page, "refusals")


def test_updates_can_be_paused(page: Tab) -> None:
    click(page, "pause")
    page.events.clear()
    time.sleep(1.3)
    assert requests(page) == []
    click(page, "pause")
    page.wait("document.getElementById('pause').getAttribute('aria-pressed') === 'false'")
    page.wait("performance.getEntriesByType('resource').at(-1).startTime > performance.now() - 900")


@pytest.mark.parametrize("model", ["frames", "ratio", "longs", "bools"])
def test_a_request_is_run_on_any_model(page: Tab, model: str) -> None:
    choose(page, "model", model)
    for fill in ("zeros", "random"):
        click(page, fill)
        page.run("document.getElementById('answer-line').textContent = ''")
        page.run("document.querySelector('#request .main').click()")
        page.wait("document.getElementById('answer-line').textContent.startsWith('Answered in')")
        answer = json.loads(text(page, "answer"))
        assert answer["model_name"] == model
    assert page.run("document.getElementById('sequence').disabled") == (model != "frames")


def test_a_request_may_belong_to_a_sequence_and_errors_are_the_sentences_of_the_server(page: Tab, url: str) -> None:
    def send(name: str, start: bool = False, end: bool = False) -> str:
        page.run(f"document.getElementById('sequence-id').value = {name!r}")
        for box, value in (("start", start), ("end", end)):
            page.run(f"document.getElementById('sequence-{box}').checked = {json.dumps(value)}")
        page.run("document.getElementById('answer-line').textContent = ''")
        page.run("document.querySelector('#request .main').click()")
        return str(page.wait("/^(Answered|Refused)/.test(document.getElementById('answer-line').textContent)"
                             " && document.getElementById('answer-line').textContent"))  # fmt: skip

    with Client(url) as client:
        status, told = client.ask("POST", "/v2/models/frames/infer?sequence_id=a%20b", FRAME)
        said = send("a b")
        assert said.startswith(f"Refused with status {status} (unknown_sequence)")
        assert said.endswith(told["error"])
        assert send("a b", start=True).startswith("Answered")
        assert send("a b").startswith("Answered")
        assert client.ask("GET", "/v2/models/frames/sequences/a%20b")[1]["step"] == 2
        assert send("a b", end=True).startswith("Answered")
        assert client.ask("GET", "/v2/models/frames/sequences/a%20b")[0] == 404
        page.run("document.getElementById('body').value = '{\"inputs\": [}'")
        assert "the request: not JSON" in send("")


@pytest.mark.parametrize(("model", "signal"), STREAMS)
def test_a_stream_is_drawn_while_it_runs(page: Tab, url: str, model: str, signal: str) -> None:
    picture = "document.getElementById('chart').toDataURL()"
    choose(page, "model", model)
    page.run(f"document.getElementById('signal').value = {signal!r}")
    page.run("document.getElementById('rate').value = 100")
    empty = page.run(picture)
    click(page, "stream-start")
    page.wait("document.querySelectorAll('#legend li').length >= 2")
    first = page.wait(f"{picture} !== {json.dumps(empty)} && {picture}")
    page.wait(f"{picture} !== {json.dumps(first)}")
    page.wait(f"Number(({FIGURES})['Answered']) > 20")
    shown = page.run(FIGURES)
    assert shown["Round trip, median"].endswith(" ms")
    assert shown["Round trip, 99 %"].endswith(" ms")
    assert shown["Refused"] == "0"
    click(page, "stream-pause")
    time.sleep(0.2)
    before = page.run(FIGURES)["Frames sent"]
    time.sleep(0.2)
    assert page.run(FIGURES)["Frames sent"] == before
    said = text(page, "stream-line")
    if model == "frames":
        name = said.split()[2]
        with Client(url) as client:
            assert client.ask("GET", f"/v2/models/frames/sequences/{name}")[0] == 200
            click(page, "stream-stop")
            end = time.monotonic() + within(10)
            while client.ask("GET", f"/v2/models/frames/sequences/{name}")[0] == 200:
                assert time.monotonic() < end
    click(page, "stream-stop")
    assert page.run("document.getElementById('stream-stop').disabled")


def test_the_chart_of_somebody_who_wants_little_motion_is_drawn_once_a_second(page: Tab) -> None:
    page.look(1280, "light", motion="reduce")
    click(page, "stream-start")
    page.wait("document.querySelectorAll('#legend li').length === 3")
    count = """new Promise((resolve) => {
      let [count, last] = [0, ""];
      const timer = setInterval(() => {
        const now = document.getElementById("chart").toDataURL();
        if (now !== last) count += 1;
        last = now;
      }, 40);
      setTimeout(() => { clearInterval(timer); resolve(count); }, 1200);
    })"""
    assert page.run(count) <= 3
    click(page, "stream-stop")


@pytest.mark.parametrize("width", [400, 1280])
def test_the_keyboard_reaches_everything_and_leaves_it_again(page: Tab, width: int) -> None:
    page.look(width, "light")
    click(page, "pause")
    wanted = page.run(REACHED)
    assert len(wanted) > 15
    page.run("document.activeElement.blur()")
    reached = []
    for _ in wanted:
        page.press("Tab")
        name, is_seen = page.run(ACTIVE)
        assert is_seen, f"{name} has the focus, and nobody sees that"
        reached.append(name)
    assert reached == wanted
    page.press("Tab", shift=True)
    assert page.run(ACTIVE)[0] == wanted[-2]


def test_a_request_and_a_stream_are_run_by_the_keyboard_alone(page: Tab) -> None:
    def reach(name: str) -> None:
        for _ in range(40):
            if page.run(ACTIVE)[0] == name:
                return
            page.press("Tab")
        raise AssertionError(f"{name} is not reached")

    page.run("document.activeElement.blur()")
    reach("sequence-id")
    page.type("by keyboard")
    page.press("Tab")
    page.press("Space")
    page.press("Enter")
    page.wait("document.getElementById('answer-line').textContent.startsWith('Answered in')")
    reach("stream-start")
    page.press("Enter")
    page.wait("document.querySelectorAll('#legend li').length === 3")
    reach("stream-stop")
    page.press("Space")
    assert page.run(ACTIVE)[0] == "stream-start"


def test_every_control_has_a_name(page: Tab) -> None:
    page.call("Accessibility.enable")
    nodes = page.call("Accessibility.getFullAXTree")["nodes"]
    page.call("Accessibility.disable")
    roles = {"button", "checkbox", "combobox", "link", "spinbutton", "textbox", "region", "image", "group"}
    shown = [(node["role"]["value"], node.get("name", {}).get("value", "")) for node in nodes if not node["ignored"]]
    assert {role for role, _ in shown} >= roles - {"group"}
    assert [role for role, name in shown if role in roles and not name] == []


def test_where_there_are_keys_it_asks_for_one_and_says_what_that_does_not_see(tab: Tab, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    lines = [
        f"{n} {role} {hashlib.sha256(f'{n} ü€'.encode()).hexdigest()}"
        for n, role in (("ann", "user"), ("root", "admin"))
    ]
    keys.write_text("\n".join(lines))
    tab.events.clear()
    tab.look(400, "dark")
    with served({"frames": stateful()}, api_key_file=keys) as url:
        with Client(url, "root ü€") as client:
            client.begin(1, 2)
        tab.open(url)
        tab.wait("!document.getElementById('locked').hidden")
        assert tab.run("document.getElementById('content').hidden")
        assert tab.run(ACTIVE)[0] == "key"
        tab.type("wrong")
        tab.press("Enter")
        tab.wait("document.getElementById('key-error').textContent === 'The server says: this API key is not known.'")
        tab.type("ann ü€")
        tab.press("Enter")
        tab.wait("!document.getElementById('content').hidden")
        assert text(tab, "who").startswith("Your key is ann, of the role user")
        assert text(tab, "sessions-note") == "No session is open. 2 sessions of other keys are not shown to yours."
        click(tab, "stream-start")
        tab.wait("document.querySelectorAll('#legend li').length === 3")
        tab.wait(f"{LISTED} === 1")
        assert tab.run("[localStorage.length, document.cookie, location.search]") == [0, "", ""]
        assert not any("ann" in asked or "616e6e" in asked for asked in requests(tab))
        click(tab, "forget")
        tab.wait("document.getElementById('locked')?.hidden === false && sessionStorage.length === 0")
        tab.type("root ü€")
        tab.press("Enter")
        tab.wait(f"{LISTED} >= 2")
        assert text(tab, "who").startswith("Your key is root, of the role admin")
        tab.run("sessionStorage.clear()")
    tab.wait("document.getElementById('health-line').textContent === 'The server does not answer'")
    assert complaints(tab) == []
