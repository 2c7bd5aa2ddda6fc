"""The workbook file: detects that it is open elsewhere, reads it, checks it for losses, and replaces it."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
import shutil
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from threading import Lock
from typing import Any, TypeAlias

import openpyxl
from openpyxl.packaging.custom import IntProperty
from openpyxl.workbook import Workbook

from connector.sink import Finding, SinkBroken
from sinks.workbook.package import Package, SheetCells
from sinks.workbook.unsupported_features import find_losses

FLUSH_PROPERTY = "connector_flush"
"""Custom document property with the number of the last rewrite; office programs keep it."""
UNPACKED_MAX_BYTES = 256 * 1024 * 1024
"""Most bytes of all unpacked parts of a file; a larger file needs too much memory."""

FileVersion: TypeAlias = tuple[int, int, int]
"""Inode, size and time of change in nanoseconds: different after any save by any program."""

_TEMPORARY = ".new"
_CHANGED = "changed by another program meanwhile"
_RIGHTS = "give the service's user the right to write there, or choose another `path`"
_locks: defaultdict[str, Lock] = defaultdict(Lock)


class InUseError(Exception):
    """Another program uses the file; nothing was written. The message is a reason for `RetryLater`."""


@dataclass(slots=True)
class Book:
    """An open workbook, and the cells that each tab had when it was loaded, by the tab's title."""

    book: Workbook
    cells: Mapping[str, SheetCells] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        """Returns the content of the file that holds the workbook."""
        return _to_bytes(self.book)


def exclusive(path: Path) -> Lock:
    """The lock to hold while a file is rewritten: two sinks may write to two tabs of one file."""
    return _locks[os.path.realpath(path)]


def file_version(path: Path) -> FileVersion | None:
    """Returns the version of the file; `None` when it is missing."""
    try:
        stat = path.stat()
    except FileNotFoundError:
        return None
    return stat.st_ino, stat.st_size, stat.st_mtime_ns


def lock_file(path: Path) -> Path | None:
    """Returns the file that an office program puts beside a file while it has it open; `None` when there is none."""
    candidates = (path.with_name(f"~${path.name}"), path.with_name(f".~lock.{path.name}#"))
    return next((candidate for candidate in candidates if candidate.exists()), None)


def lock_seconds(path: Path, now_ms: int) -> float | None:
    """Returns the age of the lock file beside `path`; `None` when there is none."""
    with contextlib.suppress(FileNotFoundError):
        lock = lock_file(path)
        return None if lock is None else now_ms / 1000 - lock.stat().st_mtime
    return None


def locked_message(path: Path) -> tuple[str, str]:
    """Returns reason and fix for a lock file that delays rewrites."""
    return (
        f"{path.name} is open in an office program: rewrites wait",
        "close it there; if it is not open anywhere, remove the lock file (~$… or .~lock.…#) beside it",
    )


def refuse_if_open(path: Path) -> None:
    """Raises `InUseError` when an office program has the file open."""
    if lock_file(path) is not None:
        raise InUseError("open in an office program")


def new_book() -> Book:
    """Returns a workbook without any tab."""
    book = openpyxl.Workbook()
    book.remove(book.worksheets[0])
    return Book(book)


def load(content: bytes, *, is_own: bool = False) -> Book:
    """Returns the workbook in a file with this content; `is_own`: the sink wrote it, and no program saved it since.

    Raises `SinkBroken` when it cannot be read, or when a rewrite would lose something.
    """
    try:
        with Package(content) as package:
            _refuse_large(package)
            book = _load(content) if is_own else _load_checked(content)
            return Book(book, {title: package.cells(part) for title, part in package.sheets().items()})
    except SinkBroken:
        raise
    except Exception as error:
        raise SinkBroken(
            f"the workbook cannot be read ({type(error).__name__})",
            "repair it in an office program, or move it away: a new one is made and filled",
        ) from error


def _refuse_large(package: Package) -> None:
    if package.unpacked_bytes > UNPACKED_MAX_BYTES:
        raise SinkBroken("the workbook is too large", "keep other data in another file, or use google_sheets")


def _load(content: bytes) -> Workbook:
    return openpyxl.load_workbook(BytesIO(content), rich_text=True)


def _load_checked(content: bytes) -> Workbook:
    """Returns the workbook. Raises `SinkBroken` when a rewrite would lose something."""
    loaded: list[Workbook] = []

    def rewrite() -> bytes:
        loaded.append(_load(content))
        return _to_bytes(loaded[0])

    losses = find_losses(content, rewrite)
    if losses:
        raise SinkBroken(
            f"a rewrite of the workbook would drop {losses}",
            "remove it, or move it to another file that refers to this one; the sink then resumes automatically",
        )
    return loaded[0]


def _to_bytes(book: Workbook) -> bytes:
    file = BytesIO()
    book.save(file)
    return file.getvalue()


def digest_of(content: bytes) -> str:
    """Returns the SHA-256 of the content of a file, by which the sink recognises its own version."""
    return hashlib.sha256(content).hexdigest()


def flush_number(book: Workbook) -> int | None:
    """Returns the number of the last rewrite of the file; `None` when it has none. LibreOffice stores 7 as 7.0."""
    found = [prop.value for prop in _properties(book) if prop.name == FLUSH_PROPERTY]
    return int(found[0]) if found and isinstance(found[0], int | float) else None


def set_flush_number(book: Workbook, number: int) -> None:
    """Sets the number of this rewrite. Programs compute formulas on opening, because a rewrite drops results."""
    properties = _properties(book)
    if FLUSH_PROPERTY in properties.names:
        del properties[FLUSH_PROPERTY]
    properties.append(IntProperty(name=FLUSH_PROPERTY, value=number))
    book.calculation.fullCalcOnLoad = True


def _properties(book: Workbook) -> Any:
    return book.custom_doc_props  # type: ignore[attr-defined]  # missing from the stubs


def replace_file(path: Path, before: FileVersion | None, content: bytes) -> None:
    """Replaces the version `before` of the file atomically. The new version is on the disk when the function returns.

    Raises `InUseError` when a program opened or saved the file since `before` was read. The file's mode is kept, and a
    new file can be read by its owner only; when root writes it the owner is that of the folder. After an error the old
    version is complete and no temporary file is left.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}{_TEMPORARY}")
    try:
        with open(temporary, "xb", opener=_private) as file:
            file.write(content)
            file.flush()
            _hand_over(file.fileno(), path.parent)
            os.fsync(file.fileno())
        if before is not None:
            shutil.copymode(path, temporary)
        refuse_if_open(path)
        if file_version(path) != before:
            raise InUseError(_CHANGED)
        temporary.replace(path)
    except FileNotFoundError:  # a rewrite by another process removed one of the two files
        raise InUseError(_CHANGED) from None
    finally:
        temporary.unlink(missing_ok=True)
    remove_leftovers(path)
    _sync_folder(path.parent)


def _hand_over(descriptor: int, folder: Path) -> None:
    """Gives a file that root writes the owner of its folder, because the service, which is not root, writes it too."""
    if os.geteuid() == 0:
        owner = folder.stat()
        os.fchown(descriptor, owner.st_uid, owner.st_gid)


def _private(path: str, flags: int) -> int:
    """Opens a new file that only its owner can read: it contains personal data."""
    return os.open(path, flags, 0o600)


def remove_leftovers(path: Path) -> None:
    """Removes the temporary files of crashes, which may hold the data of a person who is erased.

    Another process that still writes to one of them writes its version again.
    """
    for other in path.parent.iterdir():
        if other.name.startswith(f".{path.name}.") and other.name.endswith(_TEMPORARY):
            other.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    with contextlib.suppress(OSError):  # not every system can; the file itself is on the disk
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def broken_by(error: OSError) -> SinkBroken:
    """Returns the reason and the fix for a failed read or write. The old version of the file is unchanged."""
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return SinkBroken("no room left on the disk of the workbook", "make room; the sink resumes automatically")
    if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
        return SinkBroken(
            "the workbook or its folder may not be read or written",
            "give the service's user the right to read and write the folder and the file",
        )
    reason = os.strerror(error.errno) if error.errno else type(error).__name__
    return SinkBroken(f"the workbook cannot be read or written ({reason})", "check `path`, the folder and the disk")


def check_file(path: Path) -> list[Finding]:
    """Checks the folder, the lock file and the content of the file. Blocks, and writes nothing."""
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    if not os.access(folder, os.W_OK | os.X_OK):
        return [Finding("problem", "the workbook's folder cannot be written", _RIGHTS)]
    if not path.exists():
        return [Finding("ok", f"{path.name} will be made with the first interview")]
    findings = [_check_content(path)]
    if lock_file(path) is not None:
        findings.append(Finding("warning", *locked_message(path)))
    return findings


def _check_content(path: Path) -> Finding:
    try:
        book = load(path.read_bytes()).book
    except SinkBroken as broken:
        return Finding("problem", broken.reason, broken.fix)
    except OSError:
        return Finding("problem", f"{path.name} cannot be read", _RIGHTS)
    return Finding("ok", f"{path.name} can be read and rewritten, {len(book.worksheets)} tabs")
