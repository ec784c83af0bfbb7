"""The directory of `--state-dir`: one process uses it, and every model has its own files there."""

import re
import shutil
import sys
from collections.abc import Sequence
from hashlib import sha256
from logging import WARNING
from pathlib import Path
from typing import Any, Final

import numpy as np

from fastgru.errors import FastGRUError
from fastgru.filelock import FileLock, HeldError
from fastgru.serve.durable.answers import Answers
from fastgru.serve.durable.keeper import Keeper
from fastgru.serve.durable.mapped import read_about
from fastgru.serve.durable.records import Records, answer_room
from fastgru.serve.durable.slots import OWN_TARGET, target_name
from fastgru.serve.log import event
from fastgru.serve.rows import Pool
from fastgru.serve.settings import Settings, SettingsError

__all__ = ["Folder"]

_FILE: Final = re.compile(r"(.+)\.([0-9a-f]{16})\.records")
_STEPS: Final = 8  # a slot has room for an answer of this many steps
_MOST_ROOM: Final = 4_096


class Folder:
    """The folder of the settings, created if it does not exist.

    Raises `SettingsError` if it cannot be used, or if another server uses it.
    """

    def __init__(self, settings: Settings) -> None:
        assert settings.state_dir is not None
        self._path, self._settings = settings.state_dir, settings
        self._keepers: dict[tuple[str, str], Keeper] = {}
        try:
            self._path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = _locked(self._path)
        except OSError as error:
            raise self._fault(error) from None

    def _fault(self, error: Exception) -> SettingsError:
        return SettingsError(f"state_dir {str(self._path)!r} cannot be used: {error}")

    def keeper(
        self, name: str, fingerprint: str, pool: Pool, dtypes: Sequence[np.dtype[Any]], step_bytes: int
    ) -> Keeper:
        """Return the keeper of this model's sessions. step_bytes: the size of an answer to one step.

        Raises `SettingsError`.
        """
        digest = sha256(f"{fingerprint} {pool.layout}".encode()).hexdigest()[:16]
        found = self._keepers.get((name, digest))
        if found is not None:
            return found.answers_of(Answers(dtypes))
        about = {"model": name, "fingerprint": fingerprint, "layout": pool.layout}
        room = max(step_bytes, min(_STEPS * step_bytes, _MOST_ROOM))
        try:
            keeper = self._open(name, digest, about, pool.state_bytes, room, Answers(dtypes))
            for path in sorted(self._path.iterdir()):
                match = _FILE.fullmatch(path.name)
                if match is not None and match[1] == name and (name, match[2]) not in self._keepers:
                    self._open_other(path, name, match[2])
            keeper.settle()
        except (OSError, FastGRUError) as error:
            raise self._fault(error) from None
        return keeper

    def _open(
        self, name: str, digest: str, about: dict[str, Any], state_bytes: int, room: int, answers: Answers
    ) -> Keeper:
        path, settings = self._path / f"{name}.{digest}.records", self._settings
        if path.exists():
            said = read_about(path)
            state_bytes, room = said["state"], answer_room(said["state"], said["slot"])
        records = Records(path, about, state_bytes, room, is_synced=settings.state_sync)
        others = lambda: [  # noqa: E731
            keeper for (other, its), keeper in self._keepers.items() if other == name and its != digest
        ]
        # Sessions that were in memory when the previous process ended must not be dropped as too many.
        most = max(settings.parked_sessions, min(len(records.found), settings.capacity))
        keeper = self._keepers[name, digest] = Keeper(
            name, records, answers, settings.parked_seconds, most, others, settings.any_target
        )
        for damaged in records.damaged:
            whose = "whose it was cannot be told" if damaged is None else f"it was that of {damaged.name!r}"
            event(
                "damaged",
                f"a record of model {name} cannot be read, and its state is gone: {whose}",
                level=WARNING,
                model=name,
            )
        if records.skipped:
            text = f"{records.skipped} records of model {name} are damaged: those before them count"
            event("damaged", text, level=WARNING, model=name, records=records.skipped)
        if len(keeper):
            event("taken_up", f"{len(keeper)} sequences of model {name} are on disk", model=name, sequences=len(keeper))
        if foreign := [found.target for found in records.found if found.target != OWN_TARGET]:
            names = ", ".join(sorted({target_name(code) for code in foreign}))
            does = "go on with other bits" if settings.any_target else "are refused: --any-target takes them up"
            text = f"{len(foreign)} sequences of model {name} were made by another target ({names}), and {does}"
            event("other_target", text, level=WARNING, model=name, sequences=len(foreign))
        return keeper

    def _open_other(self, path: Path, name: str, digest: str) -> None:
        """Open the sessions of another model of this name, which stay on disk until they are too old."""
        said = read_about(path)
        about = {key: said[key] for key in ("model", "fingerprint", "layout")}
        keeper = self._open(name, digest, about, said["state"], 0, Answers(()))
        keeper.drop_old()
        if not len(keeper):
            self._keepers.pop((name, digest)).close()
            path.unlink()
            shutil.rmtree(path.with_suffix(".long"), ignore_errors=True)
            return
        event(
            "kept_apart",
            f"{len(keeper)} sequences on disk are of another model {name} ({said['fingerprint'][:12]}...), and are"
            " refused until that is served again",
            model=name,
            sequences=len(keeper),
        )

    def drain(self) -> None:
        """Keep sessions whose connections end from now on, because the server is shutting down."""
        for keeper in self._keepers.values():
            keeper.is_closing = True

    def close(self) -> None:
        """Write everything to disk, and release the lock of the folder."""
        for keeper in self._keepers.values():
            keeper.close()
        self._keepers.clear()
        self._lock.release()


def _locked(folder: Path) -> FileLock:
    """Lock the folder until the lock is released or the process ends. Raises `SettingsError`, `OSError`."""
    if sys.platform == "win32":
        raise SettingsError("state_dir needs a POSIX system, such as Linux or macOS")
    try:
        return FileLock(folder / "lock", 0o600)
    except HeldError as error:
        raise SettingsError(f"state_dir {str(folder)!r} is in use by another server (process {error.holder})") from None
