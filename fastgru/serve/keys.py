"""API keys, their roles, and the rights of clients of a server without keys.

A file of keys has one key per line: a name, a role (user or admin), and the SHA-256 of the key in hexadecimal. The key
itself is not stored. `openssl rand -hex 32` makes a key, and `printf %s KEY | sha256sum` its digest.

Clients send the key in a header. Browsers do not let a page set headers of a WebSocket, only its subprotocols: there
the key is sent as the subprotocol fastgru.key.KEY, with KEY in hexadecimal, in addition to the subprotocol fastgru,
which the server selects.
"""

import hashlib
import hmac
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from fastgru.serve.app import Identity, Scope
from fastgru.serve.errors import ServeError
from fastgru.serve.origin import Origins
from fastgru.serve.settings import Settings, SettingsError

__all__ = ["Guard", "Key", "read_keys"]

_ROLES: Final = ("user", "admin")
_DIGEST: Final = re.compile(r"[0-9a-fA-F]{64}")
_OPEN: Final = ("/v2/health/", "/page/")  # for orchestrators, which have no key, and for the page, which has no data
_SUBPROTOCOL: Final = re.compile(rb"(?:^|,)[ \t]*fastgru\.key\.((?:[0-9a-f]{2})+)[ \t]*(?:,|$)")
_NAME: Final = re.compile(r"[A-Za-z0-9._@-]{1,64}")
_NOBODY: Final = Identity(None, is_admin=False)


class Key(NamedTuple):
    """One line of a file of keys. digest: the SHA-256 of the key."""

    name: str
    role: str
    digest: bytes


def read_keys(path: Path) -> tuple[Key, ...]:
    """Read a file of keys; empty lines and lines that begin with # are skipped. Raises `SettingsError`, `OSError`."""
    keys: list[Key] = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path}: the file is not UTF-8: {error}") from None
    for number, line in enumerate(lines, 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        where = f"{path}, line {number}"  # without the text, which may be a secret by mistake
        if len(words) != 3:
            raise SettingsError(f"{where}: got {len(words)} words, expected three: name, role, SHA-256 of the key")
        name, role, digest = words
        if not _NAME.fullmatch(name):
            raise SettingsError(f"{where}: a name must have 1 to 64 characters, ASCII letters, digits and ._@-")
        if role not in _ROLES:
            raise SettingsError(f"{where}: the role of {name!r} must be one of {', '.join(_ROLES)}")
        if not _DIGEST.fullmatch(digest):
            raise SettingsError(f"{where}: the SHA-256 of the key of {name!r} must have 64 hexadecimal digits")
        key = Key(name, role, bytes.fromhex(digest))
        for other in keys:
            if other.name == name or other.digest == key.digest:
                raise SettingsError(f"{where}: {name!r} has the same name or the same key as {other.name!r}")
        keys.append(key)
    if not keys:
        raise SettingsError(f"{path}: the file has no keys, so nobody could use the server")
    return tuple(keys)


class Guard:
    """Identifies clients: called with an ASGI scope, it returns the identity of the sender.

    Raises `ServeError`: 401 without a known key, 403 for pages of other origins, 421 for a host that is not this
    machine, 400 for a header Host that names no host.

    On a server without keys, every client has the name None, and the role admin if the server listens on this machine
    only. On a server with keys, clients without a key may ask whether the server is live and ready, and get the page at
    /, without data.

    reads: how often the file of keys has been read. Identities and refusals from before the last time are obsolete.
    """

    def __init__(self, settings: Settings) -> None:
        self._path = settings.api_key_file
        self._keys: tuple[Key, ...] | None = None
        self._identities: dict[str, Identity] = {}
        self.reads = 0
        self.reload()
        self._nobody = Identity(None, is_admin=settings.is_local)
        self.check_origin: Callable[[bytes, bytes | None], None] = Origins(settings).check

    def reload(self) -> frozenset[str]:
        """Read the file of keys again, and return the names of removed and changed keys.

        Raises `SettingsError`, `OSError`; the keys before then stay valid.
        """
        if self._path is None:
            return frozenset()
        before, self._keys = {*(self._keys or ())}, read_keys(self._path)
        names = frozenset([key.name for key in self._keys or ()])
        self._identities = {
            key.name: Identity(key.name, True, names) if key.role == "admin" else Identity(key.name)
            for key in self._keys
        }
        self.reads += 1
        return frozenset([key.name for key in before.difference(self._keys)])

    def __call__(self, scope: Scope) -> Identity:
        """Return the identity of the client. Raises `ServeError`."""
        path = scope["path"]
        return self.identify(dict(scope["headers"]), path == "/" or path.startswith(_OPEN))

    def identify(self, headers: Mapping[bytes, bytes], is_health: bool) -> Identity:
        """Return the identity of the client, from the headers. Raises `ServeError`.

        is_health: whether the request is for the health of the server, or for a file of the page.
        """
        self.check_origin(headers.get(b"host", b""), headers.get(b"origin"))
        if self._keys is None:
            return self._nobody
        return _NOBODY if is_health else self._identify(headers)

    def _identify(self, headers: Mapping[bytes, bytes]) -> Identity:
        keys, given, bearer = self._keys or (), headers.get(b"x-api-key"), headers.get(b"authorization")
        if given is None and bearer is not None and bearer[:7].lower() == b"bearer ":
            given = bearer[7:]
        if given is None and (found := _SUBPROTOCOL.search(headers.get(b"sec-websocket-protocol", b""))):
            given = bytes.fromhex(found[1].decode())
        if given is None:
            raise ServeError(401, "an API key is needed: Authorization: Bearer KEY, or X-API-Key: KEY", reason="key")
        name = _find(keys, hashlib.sha256(given.strip()).digest())
        if name is None:
            raise ServeError(401, "this API key is not known", reason="key")
        return self._identities[name]


def _find(keys: Iterable[Key], digest: bytes) -> str | None:
    """Return the name of the key with this digest, or None.

    All keys are compared, so that the time reveals nothing.
    """
    found = None
    for name, _, known in keys:
        if hmac.compare_digest(known, digest):
            found = name
    return found
