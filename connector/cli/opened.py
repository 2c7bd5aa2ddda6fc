"""The store of a configuration as commands get at it, whichever database it is; nothing here ever makes a store."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from difflib import get_close_matches
from importlib.util import find_spec
from typing import TYPE_CHECKING, Protocol, TypeVar

from connector.config import Config
from connector.errors import UsageError

if TYPE_CHECKING:
    from sqlalchemy import Connection

T = TypeVar("T")


class OpenStore(Protocol):
    """A store that a command changes, one short transaction after the other."""

    def change(self, job: Callable[[Connection], T]) -> T:
        """Runs a job in a transaction and commits it; what it raises undoes it. It may run more than once, as long as
        nothing was committed. Keep it short: the service's own writes may wait meanwhile.
        """
        ...

    def look(self, query: Callable[[Connection], T]) -> T:
        """Runs a query on the newest commit, and on one only."""
        ...


class Place(Protocol):
    """Where a store lies, or will lie."""

    def is_there(self) -> bool:
        """Whether there is a store to look into. Raises `StoreUnavailable` when that cannot be told."""
        ...

    def looking(self) -> AbstractContextManager[Connection]:
        """One consistent look, read-only."""
        ...

    def changing(self) -> AbstractContextManager[OpenStore]:
        """A store to change."""
        ...


def place_of(config: Config) -> Place:
    """Where the store of a configuration lies. Raises `UsageError` when what it needs is not installed."""
    path = config.store.file
    if path is not None:
        from connector.cli.opened_sqlite import SqlitePlace

        return SqlitePlace(path)
    require_driver()
    from connector.cli.opened_postgres import PostgresPlace

    return PostgresPlace(config.store.url.get_secret_value())


def require_driver() -> None:
    """Raises `UsageError` when the libraries that PostgreSQL needs are not installed."""
    if find_spec("psycopg") is None:
        raise UsageError(
            "store.url: PostgreSQL needs the Python module psycopg, which is not installed; "
            "pip install 'hireflix-connector[postgres]', or `make install` in a checkout"
        )


def shown_place(config: Config) -> str:
    """Where the store lies, for people: a path, or server and name without user and password."""
    path = config.store.file
    if path is not None:
        return str(path)
    require_driver()
    from connector.cli.opened_postgres import shown

    return shown(config.store.url.get_secret_value())


def has_store(config: Config) -> bool:
    """Whether there is a store to look into. Raises `StoreUnavailable` when that cannot be told."""
    return place_of(config).is_there()


def looking(config: Config) -> AbstractContextManager[Connection]:
    """One consistent look at the store, read-only. Raises `StoreUnavailable`, `SchemaMismatch`, `UsageError`."""
    return place_of(config).looking()


def changing(config: Config) -> AbstractContextManager[OpenStore]:
    """The store, to be changed; raises as `looking`."""
    return place_of(config).changing()


def require_known(name: str, known: Iterable[str], what: str = "sink") -> str:
    """The name itself, if it is known. Raises `UsageError` with the nearest one."""
    names = sorted(known)
    if name in names:
        return name
    close = get_close_matches(name, names, n=1)
    hint = f"did you mean {close[0]}?" if close else f"there are: {', '.join(names) or 'none'}"
    raise UsageError(f"no {what} {name!r}; {hint}")


def now() -> int:
    """Epoch milliseconds by this machine's clock."""
    return time.time_ns() // 1_000_000


def now_in(connection: Connection) -> int:
    """Epoch milliseconds by the clock that counts in a store: that of its server, if it has one."""
    if connection.dialect.name == "sqlite":
        return now()
    from sqlalchemy import func, select

    return int(connection.execute(select(func.extract("epoch", func.clock_timestamp()) * 1000)).scalar_one())
