"""One transaction of the writer: the requests and jobs that share it, and their outcomes."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import structlog
from sqlalchemy import Connection

from connector.errors import StoreUnavailable
from connector.store.ingest import IngestPlan, Request, refuse, resolve
from connector.store.sqlite.database import is_unavailable, safe_message
from connector.store.sqlite.ingest import Ingest

log = structlog.get_logger("connector.store")


@dataclass(slots=True)
class Job:
    """A job that waits for its commit."""

    function: Callable[[Connection], Any]
    done: asyncio.Future[Any]
    result: Any = None
    error: Exception | None = None


@dataclass(slots=True)
class Transaction:
    """What is committed together.

    `retry_individually`: an earlier transaction with these requests failed, so each is written under a savepoint.
    `written` are groups of requests with their plans, `refused` single requests with the reason. `error`: nothing was
    committed.
    """

    requests: list[Request]
    jobs: list[Job]
    retry_individually: bool = False
    written: list[tuple[Sequence[Request], IngestPlan]] = field(default_factory=list)
    refused: list[tuple[Request, Exception]] = field(default_factory=list)
    error: Exception | None = None
    may_be_split: bool = False
    """It failed while its requests were written, so one of them may be the cause."""

    @property
    def size(self) -> int:
        """Bytes of the bodies in it."""
        return sum(len(request.incoming.body) for request in self.requests)

    def write(self, connection: sqlite3.Connection, ingest: Ingest) -> None:
        """Writes the requests. A failure is stored in `error`."""
        try:
            if self.retry_individually:
                for request in self.requests:
                    self._write_alone(request, connection, ingest)
            elif self.requests:
                plan = ingest.write(connection, [request.incoming for request in self.requests])
                self.written.append((self.requests, plan))
        except Exception as error:  # noqa: BLE001 - the transaction is rolled back and the writer continues
            self.error = error
            self.may_be_split = not self.retry_individually and not is_unavailable(error)

    def _write_alone(self, request: Request, connection: sqlite3.Connection, ingest: Ingest) -> None:
        connection.execute("SAVEPOINT request")
        try:
            plan = ingest.write(connection, [request.incoming])
        except Exception as error:
            if is_unavailable(error) or not connection.in_transaction:
                raise
            connection.execute("ROLLBACK TO request")
            self.refused.append((request, error))
        else:
            self.written.append(([request], plan))
        connection.execute("RELEASE request")

    def commit(self, connection: sqlite3.Connection, view: Connection) -> None:
        """Runs the jobs and commits, or rolls back. `view` is the same connection through SQLAlchemy, for the jobs."""
        if self.error is None:
            try:
                for job in self.jobs:
                    _run(job, connection, view)
                connection.execute("COMMIT")
            except Exception as error:  # noqa: BLE001 - as in `write`
                self.error = error
        if self.error is not None and connection.in_transaction:
            with suppress(sqlite3.Error):  # the next BEGIN repeats the rollback
                connection.execute("ROLLBACK")

    def answer(self) -> None:
        """Resolves the futures of requests and jobs after the commit."""
        for requests, plan in self.written:
            resolve(requests, plan.answers)
        for request, error in self.refused:
            log.error("event refused", reason=safe_message(error))
            refuse_all([request], (), error)
        for job in self.jobs:
            _answer(job)


def _run(job: Job, connection: sqlite3.Connection, view: Connection) -> None:
    """Runs one job under a savepoint: an exception rolls back its changes only, unless the transaction was aborted."""
    connection.execute("SAVEPOINT job")
    try:
        job.result, job.error = job.function(view), None
    except Exception as error:
        if not connection.in_transaction:  # a full disk, an I/O error
            raise
        job.error = error
        connection.execute("ROLLBACK TO job")
    connection.execute("RELEASE job")


def _answer(job: Job) -> None:
    if job.done.done():
        return
    if job.error is None:
        job.done.set_result(job.result)
    elif is_unavailable(job.error):
        job.done.set_exception(_unavailable(job.error))
    else:
        job.done.set_exception(job.error)


def refuse_all(requests: Sequence[Request], jobs: Sequence[Job], error: Exception) -> None:
    """Fails requests and jobs with `StoreUnavailable`."""
    refuse((*(request.answer for request in requests), *(job.done for job in jobs)), safe_message(error))


def _unavailable(error: Exception) -> StoreUnavailable:
    return StoreUnavailable(f"the store takes no writes: {safe_message(error)}")
