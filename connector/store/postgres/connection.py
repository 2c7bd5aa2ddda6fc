"""The connection of a receiver's writer to PostgreSQL."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from connector.store.postgres import errors
from connector.store.postgres.database import Observe, cut, make_engine

SILENCE_SECONDS = 15.0
"""A transaction without an answer of the server within this time loses its connection."""


class ServerConnection:
    """A `connector.store.writer.WriterConnection` to a server. It connects at the first transaction, and again after
    the connection was lost, also when the server is silent for `silence` seconds.
    """

    def __init__(self, url: str, silence: float = SILENCE_SECONDS, *, observe: Observe | None = None) -> None:
        self._engine = make_engine(url, 1, observe=observe)
        self._silence = silence

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """A transaction on the connection of this writer."""
        with self._engine.connect() as connection:
            watch = threading.Timer(self._silence, cut, [connection.connection.driver_connection])
            watch.daemon = True
            watch.start()
            try:
                with connection.begin():
                    yield connection
            finally:
                watch.cancel()

    def may_retry(self, error: BaseException) -> bool:
        is_lost = isinstance(error, DBAPIError) and error.connection_invalidated
        return is_lost or errors.is_conflict(error)

    def is_unavailable(self, error: BaseException) -> bool:
        return errors.is_unavailable(error)

    def safe_message(self, error: BaseException) -> str:
        return errors.safe_message(error)

    def close(self) -> None:
        self._engine.dispose()
