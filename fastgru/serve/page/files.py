"""The files of the page. They contain no data about the server, which the page gets from `/v2/overview`.

The page loads nothing from other hosts, and only its own scripts run. Browsers cache the files, but ask each time
whether they have changed, so that no page is older than its server.
"""

import hashlib
from importlib.resources import files
from typing import Final

from fastgru.serve.app import Answer, Handler, Headers, Request
from fastgru.serve.errors import ServeError

__all__ = ["file_routes"]

_TYPES: Final = {
    "css": b"text/css; charset=utf-8",
    "html": b"text/html; charset=utf-8",
    "js": b"text/javascript; charset=utf-8",
    "svg": b"image/svg+xml",
}
_POLICY: Final = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none';"
    b" form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
_HEADERS: Final[Headers] = [
    (b"cache-control", b"no-cache"),
    (b"content-security-policy", _POLICY),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
]


class _File:
    """The bytes of a file, in memory, and their headers."""

    def __init__(self, body: bytes, kind: bytes) -> None:
        tag = b'"%s"' % hashlib.sha256(body).hexdigest()[:32].encode()
        same = [(b"etag", tag), *_HEADERS]
        self._tag = tag
        self._unchanged = Answer(304, same, b"")
        self._whole = Answer(200, [(b"content-type", kind), (b"content-length", b"%d" % len(body)), *same], body)

    def answer(self, request: Request) -> Answer:
        known = request.headers.get(b"if-none-match", b"").replace(b"W/", b"").split(b",")
        return self._unchanged if self._tag in [tag.strip() for tag in known] else self._whole


def file_routes() -> dict[str, Handler]:
    """Return the routes for `Application`: the page at /, and its files below /page/."""
    kept: dict[str, _File] = {}
    for path in files(__package__).iterdir():
        kind = _TYPES.get(path.name.rpartition(".")[2])
        if kind is not None:
            kept[path.name] = _File(path.read_bytes(), kind)

    async def page(request: Request) -> Answer:
        return kept["index.html"].answer(request)

    async def part(request: Request) -> Answer:
        found = kept.get(request.names["file"])
        if found is None:
            raise ServeError(404, f"the page has no file {request.names['file']!r:.80}", reason="path")
        return found.answer(request)

    return {"GET /": page, "GET /page/{file}": part}
