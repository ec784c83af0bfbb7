"""The models that may be served: an index for everybody, and loading and unloading for the role admin."""

from typing import Any

from fastgru.serve import swap
from fastgru.serve.app import Identity
from fastgru.serve.errors import ServeError
from fastgru.serve.repository import Repository
from fastgru.serve.scheduler import Scheduler
from fastgru.serve.v2.request import bad

__all__ = ["index", "load", "unload"]


def index(repository: Repository, only_ready: bool) -> list[dict[str, str]]:
    """Return the models that were named at the start, or only those that are served. `reason` may be missing."""
    names = ("name", "version", "state", "reason")
    entries = [{name: text for name, text in zip(names, entry, strict=True) if text} for entry in repository.index()]
    return [entry for entry in entries if not only_ready or entry["state"] == "READY"]


async def load(repository: Repository, scheduler: Scheduler, name: str, identity: Identity, parameters: Any) -> None:
    """Read again the file that was named at the start; the current model serves until that is done.

    The parameter sessions is "keep" if sequences are to stay with the old model, "move" if they are to move to the new
    one. Raises `ServeError`.
    """
    _administrator(identity, parameters, "sessions")
    sessions = parameters.get("sessions", "keep")
    if sessions not in ("keep", "move"):
        raise bad(f'sessions is {sessions!r:.80}, expected "keep" or "move"')
    await swap.load(repository, scheduler, name, moves=sessions == "move")


async def unload(repository: Repository, name: str, identity: Identity, parameters: Any) -> None:
    """Stop serving a model, once its accepted requests are answered. Raises `ServeError`."""
    _administrator(identity, parameters, "unload_dependents")
    await swap.unload(repository, name)


def _administrator(identity: Identity, given: Any, *taken: str) -> None:
    """Raise `ServeError` unless the client is an administrator and gives no other parameters than `taken`."""
    if not identity.is_admin:
        raise ServeError(403, "only the role admin may load and unload models", reason="role")
    if type(given) is not dict or not given.keys() <= {*taken}:
        raise bad(
            f"parameters are {given!r:.160}, expected only {', '.join(taken)}: the file of the model says everything"
            " else"
        )
