"""One service per SQLite store: a file lock that the system releases when the process ends."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from connector.errors import StoreUnavailable, UsageError


class StoreHeld(UsageError):
    """Another process serves the store."""


class StoreLock:
    """Holds `<store>.lock` while open.

    Raises `StoreHeld` when another process holds it, `UsageError` when it cannot be locked, and `StoreUnavailable` when
    the file cannot be made.
    """

    def __init__(self, store: Path) -> None:
        self._store = store
        self._file = -1

    def __enter__(self) -> Self:
        path = self._store.with_name(f"{self._store.name}.lock")
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreUnavailable(f"{path} cannot be made: {error.strerror}; see [store] url") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._file)
            if isinstance(error, BlockingIOError):
                raise StoreHeld(
                    f"another connector serves {self._store} already; stop it first, or give this one a store of its "
                    "own ([store] url)"
                ) from None
            raise UsageError(
                f"{path} cannot be locked: {error.strerror}; the store must be on a local disk ([store] url)"
            ) from None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._file)
