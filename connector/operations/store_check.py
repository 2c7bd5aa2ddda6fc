"""Checks the store of a configuration without changing it: place, permissions, kind of file, schema."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import Connection

from connector.config import Config
from connector.errors import StoreError
from connector.operations.store_access import now_in, reading, store_address
from connector.sink import Finding
from connector.store.base import require_older
from connector.store.queries import positions
from connector.store.schema import REVISION, PauseKind
from connector.store.sqlite.database import revision_of
from connector.store.status import sinks

_SERVER = "check that the database runs, and the address, the user and the name in [store] url"
_PERMISSIONS = "give the user that runs the connector write permission, or change [store] url"


@dataclass(frozen=True, slots=True)
class StoreCheck:
    """The result of a check of the store.

    `positions` are the positions (id and name) in the store. `stopped` maps each sink to findings about why it does not
    deliver. Both are empty when the store could not be read.
    """

    findings: Sequence[Finding]
    positions: Sequence[tuple[str, str]] = ()
    stopped: Mapping[str, Sequence[Finding]] = field(default_factory=dict)


def check_store(settings: Config, *, online: bool) -> StoreCheck:
    """Checks the store. Connects to a database server only with `online`.

    Raises `UsageError` when the libraries that the store needs are not installed.
    """
    place, path = store_address(settings), settings.store.file
    findings = [Finding("ok", place)] if path is None else _check_file(path)
    if (path is None and not online) or (path is not None and not _is_readable(path, findings)):
        return StoreCheck(findings)
    try:
        with reading(settings) as connection:
            return StoreCheck(findings, positions(connection), _stopped(connection, settings))
    except StoreError as error:
        fix = _SERVER if path is None else ""
        return StoreCheck([*[each for each in findings if path is not None], Finding("problem", str(error), fix)])


def _stopped(connection: Connection, settings: Config) -> dict[str, list[Finding]]:
    found: dict[str, list[Finding]] = {}
    for sink in sinks(connection, now_in(connection), list(settings.sinks)):
        found[sink.name] = [Finding("problem", ask) for ask in sink.asks]
        if sink.state == "paused":
            by_operator = sink.paused_by is PauseKind.OPERATOR
            paused = Finding("warning" if by_operator else "problem", f"the sink is paused: {sink.reason}", sink.fix)
            found[sink.name].append(paused)
    return found


def _is_readable(path: Path, findings: Sequence[Finding]) -> bool:
    return all(finding.level == "ok" for finding in findings) and path.exists()


def _check_file(path: Path) -> list[Finding]:
    """Returns findings about a SQLite file that may not exist yet."""
    refused = _write_problem(path)
    if refused:
        return [Finding("problem", refused, _PERMISSIONS)]
    if not path.exists():
        return [Finding("ok", f"{path}, created by the first `connector serve`")]
    try:
        revision = revision_of(path)
        if revision is not None:
            require_older(revision)
    except StoreError as error:
        return [Finding("problem", str(error))]
    if revision not in {None, REVISION}:
        message = f"{path} has schema {revision}, this version uses {REVISION}"
        return [Finding("warning", message, "the next `connector serve` copies the file and updates it")]
    return [Finding("ok", str(path))]


def _write_problem(path: Path) -> str:
    """Returns why a SQLite file cannot be written, `""` if it can.

    `serve` creates missing folders, so the closest existing folder is checked. It must be writable, because SQLite
    writes its log beside the file (SQLite, Write-Ahead Logging).
    """
    try:
        if path.is_dir():
            return f"{path} is a folder"
        if path.exists() and not os.access(path, os.W_OK):
            return f"{path} is not writable"
    except OSError as error:  # the folder does not let this user in
        return f"{path} cannot be opened ({error.strerror})"
    folder = next(parent for parent in path.parents if parent.exists())
    try:
        with tempfile.TemporaryFile(dir=folder):
            return ""
    except OSError as error:
        return f"the folder {folder} is not writable ({error.strerror})"
