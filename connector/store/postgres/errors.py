"""The meaning of PostgreSQL's errors, and messages for them without values, addresses and passwords.

The codes are those of PostgreSQL, Appendix A, Error Codes.
"""

from __future__ import annotations

import psycopg

from connector.errors import NewerDocument
from connector.store.base import cause_of
from connector.store.ingest import GroupConflict

_UNAVAILABLE_CLASSES = frozenset(
    {
        "08",  # connection exception
        "28",  # the user is refused
        "3D",  # the database does not exist
        "53",  # out of disk, memory or connections
        "57",  # shut down, cancelled, still starting
        "58",  # input and output of the server itself
    }
)
_UNAVAILABLE = frozenset(
    {
        "25006",  # the server, or the role, only reads
        "25P03",  # the transaction was idle for too long
        "42501",  # missing privilege
        "55P03",  # lock timeout
        "XX001",  # the data are damaged
        "XX002",  # an index is damaged
    }
)
_CONTENTION = frozenset({"40001", "40P01"})
_CONFLICT = _CONTENTION | {"23505"}

_SAFE_CLASSES = frozenset({"25", "40", "42", "53", "55", "57", "58"})
"""Classes whose messages contain names of tables, settings and files, but no values."""

_ADVICE = {
    "53100": "make room on the server's disk",
    "53300": "raise max_connections, or run fewer processes",
    "25006": "this is a standby or a read-only role: see [store] url",
    "42501": "the user of [store] url needs all rights on the connector's tables",
    "42P01": "run `connector migrate`",
}
_UNREACHED = {
    "password authentication failed": "the server refuses the user or the password",
    "no password supplied": "the server wants a password",
    "no pg_hba.conf entry": "the server accepts no such connection from this machine",
    "does not exist": "the database or the user is missing on the server",
    "Connection refused": "no server answers at that address",
    "No such file or directory": "no server answers at that address",
    "could not translate host name": "the server's name is unknown",
    "resolve host": "the server's name is unknown",
    "timeout expired": "the server does not answer",
    "too many": "the server has no connection left",
    "remaining connection slots": "the server has no connection left",
    "starting up": "the server is starting",
    "shutting down": "the server is shutting down",
    "recovery": "the server is recovering",
}


def safe_message(error: BaseException) -> str:
    """Returns a message without personal data and secrets, and what to do."""
    if isinstance(error, GroupConflict | NewerDocument):
        return str(error)
    cause = cause_of(error)
    if not isinstance(cause, psycopg.Error):
        return type(cause).__name__
    code = cause.sqlstate
    if code is None:
        return _unreached(cause)
    name = type(cause).__name__
    primary = cause.diag.message_primary if code[:2] in _SAFE_CLASSES else None
    advice = _ADVICE.get(code)
    return f"{primary or name} ({code}" + (f": {advice})" if advice else ")")


def _unreached(cause: psycopg.Error) -> str:
    """Maps a connection error to a known reason, because its message may contain addresses and user names."""
    message = str(cause)
    known = next((words for part, words in _UNREACHED.items() if part in message), None)
    return known or "the connection to the server was lost or cannot be made"


def is_unavailable(error: BaseException) -> bool:
    """Whether the store is the cause of an error (server, network, disk, rights), not a statement or its values."""
    cause = cause_of(error)
    code = _code(cause)
    if code is None:  # raised by the system or the driver: about the connection, or about a value
        return isinstance(cause, OSError | psycopg.OperationalError | psycopg.InterfaceError)
    return code[:2] in _UNAVAILABLE_CLASSES or code in _UNAVAILABLE


def is_conflict(error: BaseException) -> bool:
    """Whether the transaction conflicted with another one, so that a retry may succeed."""
    return isinstance(error, GroupConflict) or _code(error) in _CONFLICT


def is_contention(error: BaseException) -> bool:
    """Whether it is a deadlock or a serialization failure, so that a retry succeeds with the same values."""
    return _code(error) in _CONTENTION


def _code(error: BaseException) -> str | None:
    return getattr(cause_of(error), "sqlstate", None)
