"""Loading models again, and unloading them, while requests come.

Reading a file and measuring the model take long, and run on a thread of their own. Only one model is loaded or unloaded
at a time; other calls wait.
"""

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, TypeVar

from fastgru.errors import FastGRUError
from fastgru.graph import TensorSpec
from fastgru.serve.errors import ServeError
from fastgru.serve.log import event
from fastgru.serve.models import Served
from fastgru.serve.repository import Repository
from fastgru.serve.scheduler import Scheduler
from fastgru.serve.settings import SettingsError

__all__ = ["in_thread", "load", "start", "unload"]

_POLL_S: Final = 0.002
_MOST_PARKED: Final = 16  # sequences on disk that are moved in one iteration of the loop
Result = TypeVar("Result")


def in_thread(function: Callable[[], Result]) -> "asyncio.Future[Result]":
    """Run a function in a thread of its own and return a future of its result.

    The end of the process does not wait for the thread.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Result] = loop.create_future()

    def settle(result: Any, error: BaseException | None) -> None:
        if future.done():
            return
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)

    def work() -> None:
        result, failed = None, None
        try:
            result = function()
        except BaseException as error:
            failed = error
        try:
            loop.call_soon_threadsafe(settle, result, failed)
        except RuntimeError:  # the loop has been closed
            pass

    threading.Thread(target=work, name="fastgru-load", daemon=True).start()
    return future


async def start(repository: Repository) -> None:
    """Load the models that were named at the start. Raises what `fastgru.load` raises."""
    async with repository.lock:
        for name in tuple(repository.loading):
            repository.put(await in_thread(partial(repository.read, name)))


async def load(repository: Repository, scheduler: Scheduler, name: str, *, moves: bool = False) -> Served:
    """Read the file of this model again, and serve the new model, even if the caller is cancelled meanwhile.

    moves: whether live sessions move to the new model; otherwise they stay with the old one until they end.

    Raises `ServeError`: 404 for a name that was not given at the start, 400 for a file that cannot be served, 409 if
    sessions could not continue. Nothing has changed then.
    """
    return await asyncio.shield(asyncio.ensure_future(_load(repository, scheduler, name, moves)))


async def _load(repository: Repository, scheduler: Scheduler, name: str, moves: bool) -> Served:
    async with repository.lock:
        try:
            served = await in_thread(partial(repository.read, name))
        except ServeError:
            raise
        except (FastGRUError, OSError) as error:
            raise ServeError(400, f"model {name!r:.160} does not load: {error}", reason="load") from None
        before = next((each for each in repository if each.name == name), None)
        if before is not None and before.sessions is not None:
            _check(served, before, moves)
        try:
            repository.put(served)
        except SettingsError as error:
            raise ServeError(400, f"model {name!r:.160} does not load: {error}", reason="load") from None
        if moves and served.sessions is not None:
            for session in served.sessions:
                if session.home is not served:
                    scheduler.move(session, served)
            await _move_parked(served)
        return served


async def _move_parked(served: Served) -> None:
    """Move the sequences on disk to the new model, a few at a time, so that the loop can serve requests in between."""
    assert served.sessions is not None
    for home in tuple(served.formers):
        try:
            while home.parked and served.sessions.move_parked(home, served, _MOST_PARKED):
                await asyncio.sleep(0)
        except (FastGRUError, OSError) as error:
            text = f"{home.parked} sequences on disk stay with the model before: {error}"
            event("load", text, level=logging.WARNING, model=served.name)
    served.retire()


async def unload(repository: Repository, name: str) -> None:
    """Take no more requests for this model, answer those in progress, and end its sessions.

    Raises `ServeError`, 404, if it is not loaded.
    """
    await asyncio.shield(asyncio.ensure_future(_unload(repository, name)))


async def _unload(repository: Repository, name: str) -> None:
    async with repository.lock:
        served = repository.unload(name)
        while not repository.finish(served):
            await asyncio.sleep(_POLL_S)


def _check(served: Served, before: Served, moves: bool) -> None:
    """Raise `ServeError`, 409, if live sessions could not continue."""
    assert before.sessions is not None
    if served.sessions is None and len(before.sessions):
        raise ServeError(
            409,
            f"the new file of model {served.name!r} keeps no state, but {len(before.sessions)} sequences of the old"
            " model are open: end them, or unload the model first",
            reason="state",
        )
    if not moves:
        return
    for home in (before, *[former for former in before.formers if former.live]):
        if fault := _difference(_states(home), _states(served)) or _difference(
            home.inputs + home.outputs, served.inputs + served.outputs
        ):
            raise ServeError(
                409,
                f"the sequences of model {served.name!r} cannot move to its new file: {fault}; leave out the parameter"
                " sessions, and they go on with the old model",
                reason="state",
            )


def _states(served: Served) -> Sequence[TensorSpec]:
    states = served.model.graph.states
    return [spec for spec in served.model.inputs if spec.name in states]


def _difference(before: Sequence[Any], now: Sequence[Any]) -> str:
    """Describe the difference between two lists of fields; "" if there is none."""
    shown, new = ([f"{each.name!r} {each.dtype} {list(each.shape or ())}" for each in some] for some in (before, now))
    if shown == new:
        return ""
    return f"it had {', '.join(shown) or 'no state'}, and has {', '.join(new) or 'no state'}"
