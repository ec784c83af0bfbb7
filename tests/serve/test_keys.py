"""API keys: what a file of them may say, and who is who."""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("orjson", reason="needs the extra serve")

from fastgru.serve.app import Identity
from fastgru.serve.errors import ServeError
from fastgru.serve.keys import Guard, read_keys
from fastgru.serve.settings import Settings, SettingsError


def digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "keys"
    path.write_text(
        f"# name role sha256\n\n  ann   user {digest('secret-a')}\nbob admin {digest('secret-b').upper()}\n"
    )
    return path


def scope(*headers: tuple[bytes, bytes], path: str = "/v2") -> dict[str, Any]:
    return {"type": "http", "path": path, "headers": [(b"host", b"localhost:8000"), *headers]}


def test_a_file_has_a_key_a_line(file: Path) -> None:
    ann, bob = read_keys(file)
    assert (ann.name, ann.role, ann.digest) == ("ann", "user", hashlib.sha256(b"secret-a").digest())
    assert (bob.name, bob.role) == ("bob", "admin")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "the file has no keys"),
        ("# ann user 0\n", "the file has no keys"),
        ("ann user\n", "line 1: got 2 words"),
        (f"\nann root {digest('a')}\n", "line 2: the role of 'ann' must be one of user, admin"),
        ("ann user secret\n", "64 hexadecimal digits"),
        (f"ann user {digest('a')} x\n", "4 words"),
        (f"ann user {digest('a')}\nann admin {digest('b')}\n", "line 2.*as 'ann'"),
        (f"ann user {digest('a')}\nbob admin {digest('a')}\n", "line 2.*as 'ann'"),
        (f"a/b user {digest('a')}\n", "a name must have"),
    ],
)
def test_a_wrong_line_is_named_without_what_stands_there(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "keys"
    path.write_text(content)
    with pytest.raises(SettingsError, match=message) as caught:
        read_keys(path)
    assert "secret" not in str(caught.value)
    assert digest("a") not in str(caught.value)


@pytest.mark.parametrize(
    ("header", "identity"),
    [
        ((b"authorization", b"Bearer secret-a"), Identity("ann", is_admin=False)),
        ((b"authorization", b"bearer  secret-b "), Identity("bob", is_admin=True)),
        ((b"x-api-key", b"secret-a"), Identity("ann", is_admin=False)),
    ],
)
def test_a_key_is_sent_in_one_of_two_ways(file: Path, header: tuple[bytes, bytes], identity: Identity) -> None:
    assert Guard(Settings(api_key_file=file))(scope(header))[:2] == identity[:2]


@pytest.mark.parametrize(
    "headers",
    [
        (),
        ((b"authorization", b"Basic c2VjcmV0LWE="),),
        ((b"authorization", b"Bearer"),),
        ((b"authorization", b"Bearer secret-c"),),
        ((b"authorization", b"secret-a"),),
        ((b"x-api-key", b""),),
        ((b"x-api-key", b"\xff\xfe"),),
        ((b"x-api-key", digest("secret-a").encode()),),
    ],
)
def test_others_are_refused(file: Path, headers: Any) -> None:
    with pytest.raises(ServeError) as caught:
        Guard(Settings(api_key_file=file))(scope(*headers))
    assert (caught.value.status, caught.value.reason) == (401, "key")
    assert "secret" not in str(caught.value)


def test_whether_the_server_is_ready_is_told_without_a_key(file: Path) -> None:
    guard = Guard(Settings(api_key_file=file))
    assert guard(scope(path="/v2/health/ready")) == Identity(None, is_admin=False)
    for path in ("/v2/health", "/v2/models/m/ready", "/metrics", "/v2/models/m/infer"):
        with pytest.raises(ServeError) as refused:
            guard(scope(path=path))
        assert refused.value.status == 401


def test_every_key_is_compared_whatever_comes(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[bytes] = []
    guard = Guard(Settings(api_key_file=file))
    real = hmac.compare_digest
    monkeypatch.setattr(hmac, "compare_digest", lambda a, b: (compared.append(a), real(a, b))[1])
    for key in (b"secret-a", b"secret-b", b"wrong"):
        compared.clear()
        try:
            guard(scope((b"x-api-key", key)))
        except ServeError:
            pass
        assert len(compared) == 2


def test_without_keys_those_of_this_machine_are_administrators(tmp_path: Path) -> None:
    assert Guard(Settings())(scope()) == Identity(None, is_admin=True)
    assert Guard(Settings(unix=tmp_path / "a"))(scope()) == Identity(None, is_admin=True)
    assert Guard(Settings(host="0.0.0.0", insecure=True))(scope()) == Identity(None, is_admin=False)


def test_a_missing_file_is_an_error_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Guard(Settings(api_key_file=tmp_path / "none"))
