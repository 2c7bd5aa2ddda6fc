"""Runs jobs and queries in threads, each in its own transaction, and repeats them after conflicts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, TypeVar

import psycopg
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from connector.errors import StoreUnavailable
from connector.store.postgres.database import Observe, make_engine
from connector.store.postgres.errors import is_conflict, is_contention, is_unavailable, safe_message

T = TypeVar("T")

TRIES = 6
"""Attempts of a job that conflicts with other transactions."""
WAIT_FIRST_SECONDS = 0.01
"""Upper bound of the random delay after the first attempt; it doubles with every attempt."""
WAIT_MAX_SECONDS = 1.0
"""Largest upper bound of the random delay."""


def run(engine: Engine, job: Callable[[Connection], T], *, failure: str = "the store takes no writes") -> T:
    """Runs a job in a transaction and returns after its commit.

    It is repeated after a deadlock or a conflict, which rolled back its changes, and once when its connection was lost
    before the commit. Raises the exception of the job after a rollback, or `StoreUnavailable` with a text that begins
    with `failure`. When the connection is lost during the commit, it is unknown whether the job was committed.
    """
    retrying = Retrying(
        stop=stop_after_attempt(TRIES),
        wait=wait_random_exponential(multiplier=WAIT_FIRST_SECONDS, max=WAIT_MAX_SECONDS),
        retry=retry_if_exception(is_conflict),
        reraise=True,
    )
    try:
        result: T = retrying(_once, engine, job)
    except (DBAPIError, psycopg.Error) as error:
        if is_unavailable(error):
            raise StoreUnavailable(f"{failure}: {safe_message(error)}") from None
        if is_contention(error):
            raise StoreUnavailable(f"{failure}: it conflicts with other transactions ({safe_message(error)})") from None
        raise
    return result


def _once(engine: Engine, job: Callable[[Connection], T]) -> T:
    with engine.connect() as connection:
        try:
            result = job(connection)
        except DBAPIError as error:
            if not error.connection_invalidated:
                raise
        else:
            connection.commit()
            return result
    with engine.begin() as connection:  # the server was restarted while the first connection was idle
        return job(connection)


class Threads:
    """One thread per connection, so that jobs wait in the queue of the pool and never for a connection."""

    def __init__(
        self, url: str, size: int, name: str, *, mode: Literal["write", "read"], observe: Observe | None = None
    ) -> None:
        self.engine = make_engine(url, size, mode=mode, observe=observe)
        self._failure = "the store takes no writes" if mode == "write" else "the store cannot be read"
        self._threads = ThreadPoolExecutor(size, thread_name_prefix=name)

    async def run(self, job: Callable[[Connection], T]) -> T:
        """Like `run`, in one of the threads."""
        work = asyncio.get_running_loop().run_in_executor
        return await work(self._threads, lambda: run(self.engine, job, failure=self._failure))

    async def close(self) -> None:
        """Finishes queued jobs, then closes the connections."""
        await asyncio.to_thread(self._threads.shutdown, wait=True)
        self.engine.dispose()
