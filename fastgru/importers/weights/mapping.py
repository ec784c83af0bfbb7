"""The tensors of a file by name, with a record of those that were read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from copy import copy
from fnmatch import fnmatchcase
from types import TracebackType

import numpy as np

from fastgru.arrays import Array, frozen, owned
from fastgru.errors import MissingTensorError, UnreadTensorsError
from fastgru.nearest import nearest

__all__ = ["Weights"]

SHOWN = 20  # names that an error message lists before it says how many more there are


class Weights(Mapping[str, Array]):
    """An immutable mapping from tensor names, in the order of the file, to read-only arrays.

    Arrays that a caller can still change are copied.

    Reading `weights[name]` (or `get`, `items`, `values`) marks the name as read; `in`, iteration, `len`, `specs` and
    `sub` do not. At the end, `check_all_read` raises for the tensors that nobody has read. As a context manager, the
    mapping does this itself if the block ends without an error:

        with fastgru.read_weights("model.pt") as weights:
            gru = fastgru.GRU.from_torch(weights, prefix="gru")

    source: the name of the file in error messages.
    form: one of `fastgru.importers.files.FORMATS`.
    key, others: the dotted path of the dict that was read, and the paths of those that were not.
    passed_over: the names of classes whose objects the file holds beside its tensors. None of them was built.
    """

    def __init__(
        self,
        tensors: Mapping[str, Array],
        *,
        source: str = "weights",
        form: str = "",
        key: str = "",
        others: tuple[str, ...] = (),
        passed_over: tuple[str, ...] = (),
    ) -> None:
        self.source = source
        self.format = form
        self.key, self.others, self.passed_over = key, others, passed_over
        self.prefix = ""
        kept = frozen if form else owned  # with a form, the arrays are those of a file
        self._tensors = {name: kept(np.asarray(array)) for name, array in tensors.items()}
        self._read: set[str] = set()
        self._names = {name: name for name in self._tensors}  # name here -> name in the file

    def __getitem__(self, name: str) -> Array:
        try:
            full = self._names[name]
        except KeyError:
            raise MissingTensorError(self._explain_missing(name)) from None
        self._read.add(full)
        return self._tensors[full]

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __repr__(self) -> str:
        where = f" under {self.prefix!r}" if self.prefix else ""
        return f"<Weights of {self.source}{where}: {len(self)} tensors, {len(self.unread)} unread>"

    @property
    def specs(self) -> dict[str, tuple[str, tuple[int, ...]]]:
        """The dtype and shape of every name. This reads no tensor."""
        return {name: (a.dtype.name, a.shape) for name, a in ((n, self._tensors[f]) for n, f in self._names.items())}

    @property
    def unread(self) -> tuple[str, ...]:
        """The names of this view that nobody has read, in order."""
        return tuple(name for name, full in self._names.items() if full not in self._read)

    def sub(self, prefix: str) -> Weights:
        """Return a view of the tensors whose names start with `prefix` and a dot or slash.

        The names in the view do not have the prefix. An empty prefix gives all tensors. Reading a tensor in the view
        marks it as read in the whole mapping. Raises `MissingTensorError` if no name has this prefix.
        """
        prefix = prefix.rstrip("./")
        view = copy(self)
        view.prefix = ".".join(filter(None, (self.prefix, prefix)))
        starts, cut = ((f"{prefix}.", f"{prefix}/"), len(prefix) + 1) if prefix else ("", 0)
        view._names = {name[cut:]: full for name, full in self._names.items() if name.startswith(starts)}
        if not view._names and prefix:
            raise MissingTensorError(self._explain_missing(f"{prefix}.*"))
        return view

    def check_all_read(self, ignore: Iterable[str] = ()) -> None:
        """Raise `UnreadTensorsError` if tensors of this view were not read. It lists them with dtypes and shapes.

        ignore: names, or patterns with `*` and `?`, of tensors that may stay unread.
        """
        patterns = tuple(ignore)
        specs = self.specs
        left = [name for name in self.unread if not any(fnmatchcase(name, pattern) for pattern in patterns)]
        if left:
            listed = ", ".join(f"{name} {specs[name][0]}{list(specs[name][1])}" for name in left[:SHOWN])
            more = f", and {len(left) - SHOWN} more" if len(left) > SHOWN else ""
            raise UnreadTensorsError(f"{self.source}: {len(left)} tensor(s) were not read: {listed}{more}")

    def __enter__(self) -> Weights:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.check_all_read()

    def _explain_missing(self, name: str) -> str:
        close = nearest(name, self._names, most=3)
        names = close or list(self._names)[:SHOWN]
        hint = "did you mean" if close else "it holds"
        where = f" under {self.prefix!r}" if self.prefix else ""
        more = "..." if not close and len(self) > SHOWN else ""
        return f"{self.source}: no tensor {name!r}{where}; {hint} {', '.join(names) or 'nothing'}{more}"
