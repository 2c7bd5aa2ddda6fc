"""Files that only their owner can read: secrets that the connector creates once, and the modes of existing files."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from pydantic import SecretStr

from connector.errors import ConfigError, Problem

WEBHOOK_SECRET = "webhook-secret"  # noqa: S105 - the name of a file


def read_secret(path: Path) -> SecretStr | None:
    """Returns the secret in a file, `None` without the file. Raises `ConfigError` when it is empty or unreadable."""
    try:
        text = path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        hint = f"check its owner and its permissions, and that {path.parent} is a folder"
        raise _error(path, f"cannot be read ({type(error).__name__})", hint) from error
    if not text:
        raise _error(path, "is empty", "delete it; the next start creates a new secret")
    return SecretStr(text)


def make_secret(path: Path) -> SecretStr:
    """Returns the secret in a file; creates the file with 32 random bytes if it is missing.

    Only the owner can read the file. It is created complete, and processes that start at the same time get the same
    secret. Raises `ConfigError` when the file cannot be read or written.
    """
    found = read_secret(path)
    if found is not None:
        return found
    write_secret(path, secrets.token_urlsafe(32), replace=False)
    made = read_secret(path)
    assert made is not None
    return made


def make_private(paths: Iterable[Path]) -> list[Path]:
    """Removes the rights of group and others, and returns the paths that had any.

    Skips what does not exist, symbolic links, and what belongs to another user.
    """
    changed = []
    for path in paths:
        with suppress(OSError):
            mode = path.lstat().st_mode
            if not stat.S_ISLNK(mode) and mode & (stat.S_IRWXG | stat.S_IRWXO):
                path.chmod(stat.S_IMODE(mode) & stat.S_IRWXU)
                changed.append(path)
    return changed


def write_secret(path: Path, text: str, *, replace: bool) -> None:
    """Writes a file that only its owner can read. Without `replace` an existing file stays unchanged.

    Raises `ConfigError` when the file cannot be written.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write(path, text, replace=replace)
    except OSError as error:
        hint = f"give the user that runs the connector write permission on {path.parent}"
        raise _error(path, f"cannot be written: {error.strerror}", hint) from error


def hand_over(descriptor: int, folder: Path) -> None:
    """Gives a new file the owner of its folder when root creates it. The service runs as that user, and has to use what
    a command of root leaves, such as a new password or a restored store.

    Only for a file that was opened with O_EXCL: that user could have put a link to another file in its place.
    """
    if os.geteuid() == 0:
        owner = folder.stat()
        os.fchown(descriptor, owner.st_uid, owner.st_gid)


def _write(path: Path, text: str, *, replace: bool) -> None:
    draft = path.with_name(f".{path.name}-{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text + "\n")
            stream.flush()
            hand_over(stream.fileno(), path.parent)
            os.fsync(stream.fileno())
        if replace:
            draft.replace(path)
        else:
            os.link(draft, path)
    except FileExistsError:  # another process has created it in the meantime
        pass
    finally:
        draft.unlink(missing_ok=True)


def _error(path: Path, message: str, hint: str) -> ConfigError:
    return ConfigError([Problem(f"{path.parent.name}/{path.name}", message, hint)])
