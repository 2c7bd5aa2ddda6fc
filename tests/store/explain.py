"""The plan of a database for a statement."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from sqlalchemy import Connection, event


def steps_of(raw: sqlite3.Connection, sql: str, parameters: Any) -> list[str]:
    """The steps of the plan; parameters stay parameters, as in the real run."""
    return [row[3] for row in raw.execute(f"EXPLAIN QUERY PLAN {sql}", parameters).fetchall()]


def scans(steps: Sequence[str]) -> list[str]:
    """Steps that read a whole table. The values of a parameter or of VALUES are not a table."""
    values = ("VIRTUAL TABLE", "CONSTANT ROW")
    return [step for step in steps if step.startswith("SCAN") and not any(word in step for word in values)]


@contextmanager
def explained(connection: Connection, unless: str = "\0") -> Iterator[list[str]]:
    """Collects SQLite's steps of every statement in the block, except those with the word `unless`."""
    steps: list[str] = []
    raw: Any = connection.connection.driver_connection

    def look(*seen: Any) -> None:
        statement, parameters = seen[2:4]
        if seen[0] is connection and unless not in statement:  # other connections share the engine
            steps.extend(steps_of(raw, statement, parameters[0] if isinstance(parameters, list) else parameters))

    event.listen(connection.engine, "before_cursor_execute", look)
    try:
        yield steps
    finally:
        event.remove(connection.engine, "before_cursor_execute", look)


@contextmanager
def explained_by_postgres(connection: Connection) -> Iterator[list[str]]:
    """Collects PostgreSQL's steps of every statement in the block."""
    steps: list[str] = []
    raw: Any = connection.connection.driver_connection

    def look(*seen: Any) -> None:
        statement, parameters = seen[2:4]
        if statement.startswith("LOCK"):
            return
        first = parameters[0] if isinstance(parameters, list) else parameters
        steps.extend(step for (step,) in execute(f"EXPLAIN {statement}", first))

    def looked_at(statement: str, parameters: Any) -> Any:  # what does not go through SQLAlchemy
        look(None, None, statement, parameters)
        return execute(statement, parameters)

    execute = raw.execute
    event.listen(connection.engine, "before_cursor_execute", look)
    try:
        with patch.object(raw, "execute", looked_at):
            yield steps
    finally:
        event.remove(connection.engine, "before_cursor_execute", look)
