"""The file itself: who has it open, was it changed meanwhile, how it is replaced in one step."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import BinaryIO, TypeAlias

from connector.sink import SinkBroken

Identity: TypeAlias = tuple[int, int, int]
"""Inode, size and time of change (ns): differs after any save by anybody."""


_TEMPORARY = ".new"
_locks: defaultdict[str, Lock] = defaultdict(Lock)


def alone_at(path: Path) -> Lock:
    """Held while a file is rewritten: two sinks may keep two tabs of one file."""
    return _locks[os.path.realpath(path)]


class InUseError(Exception):
    """Somebody else is at the file; nothing was written. The message is a reason fit for `RetryLater`."""


def identity(path: Path) -> Identity | None:
    """What tells one saved version of the file from the next; `None` without a file."""
    try:
        stat = path.stat()
    except FileNotFoundError:
        return None
    return stat.st_ino, stat.st_size, stat.st_mtime_ns


def lock_beside(path: Path) -> Path | None:
    """The mark that an office program leaves beside a file while it has it open."""
    marks = (path.with_name(f"~${path.name}"), path.with_name(f".~lock.{path.name}#"))
    return next((mark for mark in marks if mark.exists()), None)


def lock_seconds(path: Path, now: int) -> float | None:
    """Age of the lock file beside `path` at `now` (epoch milliseconds); `None` when there is none."""
    with contextlib.suppress(FileNotFoundError):
        lock = lock_beside(path)
        return None if lock is None else now / 1000 - lock.stat().st_mtime
    return None


def locked_message(path: Path) -> tuple[str, str]:
    """What to say about a lock file that makes rewrites wait: reason and fix."""
    return (
        f"{path.name} is open in an office program: rewrites wait",
        "close it there; if nobody has it open, remove the lock file (~$… or .~lock.…#) beside it",
    )


def refuse_if_open(path: Path) -> None:
    if lock_beside(path) is not None:
        raise InUseError("open in an office program")


def replace(path: Path, before: Identity | None, write: Callable[[BinaryIO], object]) -> None:
    """Puts a new version in the place of `before` in one step, on disk when it returns.

    `InUseError` when somebody opened or saved the file since `before` was read. The file's mode is kept. Whatever
    happens, the old version stays whole and no temporary file is left behind.
    """
    _clear_leftovers(path)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}{_TEMPORARY}")
    try:
        with temporary.open("xb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        if before is not None:
            shutil.copymode(path, temporary)
        refuse_if_open(path)
        if identity(path) != before:
            raise InUseError("changed by somebody meanwhile")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(path.parent)


def _clear_leftovers(path: Path) -> None:
    """Removes what a crash left behind. A version begun before the present one was saved can only be refused."""
    saved = path.stat().st_mtime_ns if path.exists() else 0
    for other in path.parent.iterdir():
        if other.name.startswith(f".{path.name}.") and other.name.endswith(_TEMPORARY):
            with contextlib.suppress(FileNotFoundError):
                if other.stat().st_mtime_ns < saved:
                    other.unlink()


def _sync_folder(folder: Path) -> None:
    with contextlib.suppress(OSError):  # not every system can; the file itself is on disk
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def broken_by(error: OSError) -> SinkBroken:
    """What a failed read or write of the file means, and what a person has to do. The old version is untouched."""
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return SinkBroken("no room left on the disk of the workbook", "make room; the sink goes on by itself")
    if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
        return SinkBroken(
            "the workbook or its folder may not be read or written",
            "give the service's user the right to read and write the folder and the file",
        )
    reason = os.strerror(error.errno) if error.errno else type(error).__name__
    return SinkBroken(f"the workbook cannot be read or written ({reason})", "check `path`, the folder and the disk")
