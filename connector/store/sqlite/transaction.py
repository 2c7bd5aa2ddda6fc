"""One transaction of the writer: the requests and jobs that share it, and what becomes of them."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

import structlog
from sqlalchemy import Connection

from connector.errors import StoreUnavailable
from connector.store.ingest import GroupPlan, Request, refuse, resolve
from connector.store.sqlite.database import is_trouble, words_of
from connector.store.sqlite.ingest import Ingest

T = TypeVar("T")
Job = Callable[[Connection], T]

log = structlog.get_logger("connector.store")


@dataclass(slots=True)
class Errand:
    """A job that waits for its commit."""

    job: Job[Any]
    done: asyncio.Future[Any]
    result: Any = None
    error: Exception | None = None


@dataclass(slots=True)
class Transaction:
    """What is committed together.

    `one_by_one`: an earlier transaction with these requests failed, and one of them may be why. `written` are groups
    of requests with their plans, `refused` single requests with the reason. `error`: nothing of it was committed.
    """

    requests: list[Request]
    errands: list[Errand]
    one_by_one: bool = False
    written: list[tuple[Sequence[Request], GroupPlan]] = field(default_factory=list)
    refused: list[tuple[Request, Exception]] = field(default_factory=list)
    error: Exception | None = None
    may_be_split: bool = False
    """It failed while its requests were written, so that one of them may be to blame for all."""

    @property
    def size(self) -> int:
        """Bytes of the bodies in it."""
        return sum(len(request.arrival.body) for request in self.requests)

    def write(self, connection: sqlite3.Connection, ingest: Ingest) -> None:
        """Writes the requests; what fails is kept in `error`."""
        try:
            if self.one_by_one:
                for request in self.requests:
                    self._write_alone(request, connection, ingest)
            elif self.requests:
                plan = ingest.write(connection, [request.arrival for request in self.requests])
                self.written.append((self.requests, plan))
        except Exception as error:  # noqa: BLE001 - whatever it is, the transaction is rolled back and the writer goes on
            self.error = error
            self.may_be_split = not self.one_by_one and not is_trouble(error)

    def _write_alone(self, request: Request, connection: sqlite3.Connection, ingest: Ingest) -> None:
        connection.execute("SAVEPOINT request")
        try:
            plan = ingest.write(connection, [request.arrival])
        except Exception as error:
            if is_trouble(error) or not connection.in_transaction:
                raise
            connection.execute("ROLLBACK TO request")
            self.refused.append((request, error))
        else:
            self.written.append(([request], plan))
        connection.execute("RELEASE request")

    def commit(self, connection: sqlite3.Connection, view: Connection) -> None:
        """Runs the jobs and commits, or rolls back; `view` is the same connection as jobs see it."""
        if self.error is None:
            try:
                for errand in self.errands:
                    _run(errand, connection, view)
                connection.execute("COMMIT")
            except Exception as error:  # noqa: BLE001 - as in `write`
                self.error = error
        if self.error is not None and connection.in_transaction:
            with suppress(sqlite3.Error):  # the next BEGIN sees to it
                connection.execute("ROLLBACK")

    def answer(self) -> None:
        """Tells everybody what was committed."""
        for requests, plan in self.written:
            resolve(requests, plan.answers)
        for request, error in self.refused:
            log.error("event refused", reason=words_of(error))
            refuse_all([request], (), error)
        for errand in self.errands:
            _answer(errand)


def _run(errand: Errand, connection: sqlite3.Connection, view: Connection) -> None:
    """Runs one job; what it raises undoes its own changes only, unless the whole transaction went with it."""
    connection.execute("SAVEPOINT job")
    try:
        errand.result, errand.error = errand.job(view), None
    except Exception as error:
        if not connection.in_transaction:  # a full disk, an I/O error
            raise
        errand.error = error
        connection.execute("ROLLBACK TO job")
    connection.execute("RELEASE job")


def _answer(errand: Errand) -> None:
    if errand.done.done():
        return
    if errand.error is None:
        errand.done.set_result(errand.result)
    elif is_trouble(errand.error):
        errand.done.set_exception(_unavailable(errand.error))
    else:
        errand.done.set_exception(errand.error)


def refuse_all(requests: Sequence[Request], errands: Sequence[Errand], error: Exception) -> None:
    """Tells them that the store took nothing."""
    refuse((*(request.answer for request in requests), *(errand.done for errand in errands)), words_of(error))


def _unavailable(error: Exception) -> StoreUnavailable:
    return StoreUnavailable(f"the store takes no writes: {words_of(error)}")
