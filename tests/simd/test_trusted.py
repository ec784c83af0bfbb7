"""Folders and files that others can change are not opened; what is made is nobody else's, whatever the umask."""

from __future__ import annotations

import os
import re
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from fastgru.simd import trusted
from fastgru.simd.trusted import UntrustedError, open_folder

pytestmark = pytest.mark.skipif(os.name != "posix", reason="owners and modes are POSIX's")
needs_root = pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root makes files of others")

OTHER = 65534


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A folder of this user's, below folders that are trusted."""
    tmp_path.chmod(0o700)
    return Path(os.path.realpath(tmp_path))


@pytest.fixture
def umask() -> Iterator[None]:
    old = os.umask(0)
    yield
    os.umask(old)


def read(path: Path, name: str = "entry") -> bytes:
    with open_folder(str(path)) as folder:
        return folder.read(name, 1 << 20)


def write(path: Path, data: bytes = b"data", make: int | None = 0o755) -> None:
    with open_folder(str(path), make=make) as folder:
        folder.write("entry", data)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


@pytest.mark.parametrize("mask", [0, 0o002, 0o077, 0o777])
@pytest.mark.parametrize("make", [0o700, 0o755])
def test_what_is_made_has_the_mode_asked_for(base: Path, make: int, mask: int, umask: None) -> None:
    os.umask(mask)
    write(base / "a" / "b", make=make)
    assert [mode(base / "a"), mode(base / "a" / "b"), mode(base / "a" / "b" / "entry")] == [make, make, 0o644]
    assert read(base / "a" / "b") == b"data"
    write(base / "a" / "b", b"new", make=make)
    assert read(base / "a" / "b") == b"new"
    assert os.listdir(base / "a" / "b") == ["entry"]


def test_what_is_missing_is_not_made_for_a_reader(base: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read(base / "a")
    assert os.listdir(base) == []
    (base / "a").mkdir()
    with pytest.raises(FileNotFoundError):
        read(base / "a")


@pytest.mark.parametrize("bits", [0o775, 0o757, 0o777])
def test_what_others_can_write_is_refused(base: Path, bits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trusted, "_is_private", lambda user, group: False)
    folder = base / "a" / "b"
    write(folder)
    for path in (folder / "entry", folder, base / "a"):
        kept = mode(path)
        path.chmod(bits)
        shown = rf"{re.escape(str(path))} belongs to uid {os.geteuid()} and has mode 0{bits:o}, expected .*chmod go-w"
        with pytest.raises(UntrustedError, match=shown):
            read(folder)
        if path.is_dir():
            with pytest.raises(UntrustedError, match=shown):
                write(folder, b"lost")
        path.chmod(kept)
    assert read(folder) == b"data"


def test_a_group_of_one_user_is_that_user(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Systems that give every user a group of his own have a umask of 002."""
    write(base / "a")
    (base / "a").chmod(0o775)
    monkeypatch.setattr(trusted, "_is_private", lambda user, group: (user, group) == (os.geteuid(), os.getegid()))
    read(base / "a")
    (base / "a").chmod(0o777)
    with pytest.raises(UntrustedError):
        read(base / "a")


@pytest.mark.parametrize(
    ("owner", "group", "members", "private"),
    [
        (("ann", 7), ("ann", 7), [], True),
        (("ann", 7), ("ann", 7), ["ann"], True),
        (("ann", 7), ("ann", 7), ["ann", "bob"], False),
        (("ann", 7), ("users", 7), [], False),
        (("ann", 8), ("ann", 7), [], False),
    ],
)
def test_which_groups_are_private(owner, group, members, private, monkeypatch: pytest.MonkeyPatch) -> None:
    pwd, grp = pytest.importorskip("pwd"), pytest.importorskip("grp")
    monkeypatch.setattr(pwd, "getpwuid", lambda user: SimpleNamespace(pw_name=owner[0], pw_gid=owner[1]))
    monkeypatch.setattr(grp, "getgrgid", lambda number: SimpleNamespace(gr_name=group[0], gr_mem=members))
    assert trusted._is_private.__wrapped__(1000, group[1]) is private
    assert not trusted._is_private.__wrapped__(0, group[1])


def test_sticky_folders_are_accepted_above_alone(base: Path) -> None:
    folder = base / "a" / "b"
    write(folder)
    (base / "a").chmod(0o1777)
    assert read(folder) == b"data"
    folder.chmod(0o1777)
    with pytest.raises(UntrustedError, match="mode 1777"):
        read(folder)


@needs_root
@pytest.mark.parametrize("part", ["a", "a/b", "a/b/entry"])
def test_what_belongs_to_others_is_refused(base: Path, part: str) -> None:
    folder = base / "a" / "b"
    write(folder)
    (base / "a").chmod(0o1777)
    os.chown(base / part, OTHER, OTHER)
    with pytest.raises(UntrustedError, match=rf"{part} belongs to uid {OTHER} .*expected one of uid 0 or 0"):
        read(folder)


def test_an_entry_is_a_file(base: Path) -> None:
    folder = base / "a"
    write(folder)
    (folder / "link").symlink_to("entry")
    (folder / "dangling").symlink_to("nowhere")
    os.mkfifo(folder / "pipe")
    (folder / "folder").mkdir()
    for name, what in (("link", "link"), ("dangling", "link"), ("pipe", "pipe"), ("folder", "folder")):
        with pytest.raises(UntrustedError, match=f"{name} is a .*{what}.*expected a file"):
            read(folder, name)


def test_a_writer_goes_through_no_link(base: Path) -> None:
    target = base / "target"
    target.write_bytes(b"kept")
    (base / "a").mkdir(mode=0o755)
    (base / "a" / "entry").symlink_to(target)
    write(base / "a")
    assert target.read_bytes() == b"kept"
    assert read(base / "a") == b"data"
    assert not (base / "a" / "entry").is_symlink()


def test_links_on_the_way_are_followed_where_they_are_trusted(base: Path) -> None:
    """As /var on macOS, and homes that are links."""
    write(base / "real" / "deep")
    (base / "absolute").symlink_to(base / "real")
    (base / "real" / "relative").symlink_to("../real/./deep")
    (base / "again").symlink_to("absolute/relative")
    for way in ("absolute/deep", "real/relative", "absolute/relative", "again"):
        assert read(base / way) == b"data"
        with open_folder(str(base / way)) as folder:
            assert folder.path == str(base / "real" / "deep")
    (base / "real").chmod(0o777)
    with pytest.raises(UntrustedError, match="real belongs to"):
        read(base / "again")
    (base / "loop").symlink_to("loop")
    with pytest.raises(OSError, match="symbolic links"):
        read(base / "loop")


@needs_root
def test_a_link_of_others_leads_nowhere(base: Path) -> None:
    """In a sticky folder anybody can make a link to a folder of the victim's own."""
    write(base / "mine")
    (base / "tmp").mkdir()
    (base / "tmp").chmod(0o1777)
    (base / "tmp" / "cache").symlink_to(base / "mine")
    assert read(base / "tmp" / "cache") == b"data"
    os.chown(base / "tmp" / "cache", OTHER, OTHER, follow_symlinks=False)
    with pytest.raises(UntrustedError, match=rf"tmp/cache belongs to uid {OTHER}"):
        read(base / "tmp" / "cache")
    with pytest.raises(UntrustedError, match=rf"tmp/cache belongs to uid {OTHER}"):
        write(base / "tmp" / "cache", b"lost")
    assert read(base / "mine") == b"data"


def test_a_file_in_the_way_and_a_failed_write(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (base / "file").write_bytes(b"")
    with pytest.raises(NotADirectoryError):
        write(base / "file" / "a")
    write(base / "a")

    def fail(*names: str, **options: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="No space"):
        write(base / "a", b"lost")
    assert os.listdir(base / "a") == ["entry"]
    assert read(base / "a") == b"data"


def test_temporary_files_of_dead_writers_are_swept(base: Path) -> None:
    write(base / "a")
    (base / "a" / ".old-1.tmp").write_bytes(b"half")
    (base / "a" / ".new-2.tmp").write_bytes(b"half")
    os.utime(base / "a" / ".old-1.tmp", (0, time.time() - 7200))
    with open_folder(str(base / "a")) as folder:
        folder.sweep()
        assert [(size, fault) for size, fault in folder.files("entry")] == [(4, "")]
    assert sorted(os.listdir(base / "a")) == [".new-2.tmp", "entry"]


def test_no_descriptor_is_left_open(base: Path) -> None:
    if not os.path.isdir("/dev/fd"):
        pytest.skip("this system has no /dev/fd")
    before = os.listdir("/dev/fd")
    write(base / "a" / "b")
    (base / "a").chmod(0o777)
    for _ in range(3):
        with pytest.raises(UntrustedError):
            read(base / "a" / "b")
    assert os.listdir("/dev/fd") == before


def test_the_temporary_folder_of_the_system_may_be_above() -> None:
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder))
        assert read(Path(folder)) == b"data"
