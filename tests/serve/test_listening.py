"""Where a server listens, and whose files it removes."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest

from fastgru.serve.listening import close_all, listen, urls_of
from fastgru.serve.settings import Settings, SettingsError

pytestmark = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="needs Unix sockets")


def test_a_free_port_is_found_and_told() -> None:
    sockets = listen(Settings(port=0))
    try:
        (url,) = urls_of(sockets, "http")
        assert url == f"http://127.0.0.1:{sockets[0].getsockname()[1]}"
        with pytest.raises(SettingsError, match=r"cannot listen at 127.0.0.1, port \d+: Address already in use"):
            listen(Settings(port=sockets[0].getsockname()[1]))
    finally:
        close_all(sockets)


@pytest.mark.skipif(not socket.has_ipv6, reason="needs IPv6")
def test_an_address_of_ipv6_has_brackets() -> None:
    try:
        sockets = listen(Settings(host="::1", port=0))
    except SettingsError:
        pytest.skip("this machine has no IPv6")
    assert urls_of(sockets, "https")[0].startswith("https://[::1]:")
    close_all(sockets)


def test_a_name_that_is_none_is_an_error() -> None:
    with pytest.raises(SettingsError, match=r"cannot listen at no.such.host.invalid, port 1: "):
        listen(Settings(host="no.such.host.invalid", port=1, insecure=True))


@pytest.mark.parametrize(("mode", "expected"), [(None, 0o600), ("0660", 0o660), ("666", 0o666)])
def test_a_unix_socket_has_its_permissions_from_the_start(tmp_path: Path, mode: str | None, expected: int) -> None:
    path = tmp_path / "a.sock"
    before = os.umask(0o022)
    try:
        sockets = listen(Settings(unix=path) if mode is None else Settings(unix=path, unix_mode=mode))
        assert os.umask(0o022) == 0o022
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == expected
    assert urls_of(sockets, "http") == [f"unix:{path}"]
    close_all(sockets, path)
    assert not path.exists()


def test_a_stale_socket_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
        left.listen(1)
    assert path.exists()
    sockets = listen(Settings(unix=path))
    close_all(sockets, path)


def test_a_live_socket_and_other_files_stay(tmp_path: Path) -> None:
    path = tmp_path / "a.sock"
    sockets = listen(Settings(unix=path))
    with pytest.raises(SettingsError, match="another server listens at"):
        listen(Settings(unix=path))
    path.unlink()
    path.write_text("precious")
    with pytest.raises(SettingsError, match="and is not a socket"):
        listen(Settings(unix=path))
    close_all(sockets, path)
    assert path.read_text() == "precious"
    link = tmp_path / "link.sock"
    link.symlink_to(tmp_path / "nothing")
    with pytest.raises(SettingsError, match="and is not a socket"):
        listen(Settings(unix=link))
    assert link.is_symlink()


def test_a_socket_that_took_the_place_stays(tmp_path: Path) -> None:
    path = tmp_path / "a.sock"
    first = listen(Settings(unix=path))
    path.unlink()
    second = listen(Settings(unix=path))
    close_all(first, path)
    assert path.exists()
    close_all(second, path)
    assert not path.exists()


def test_a_path_that_is_too_long_or_nowhere_is_an_error(tmp_path: Path) -> None:
    for path in (tmp_path / ("a" * 200), tmp_path / "none" / "a.sock"):
        with pytest.raises(SettingsError, match="cannot listen at"):
            listen(Settings(unix=path))
