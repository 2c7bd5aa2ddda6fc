"""The password of the dashboard: its hash, and the file that holds the hash of a generated one."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidKey
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from connector.config import Config
from connector.errors import ConfigError, UsageError
from connector.secretsfile import read_secret, write_secret

MEMORY_KIB = 19 * 1024
"""Memory, passes and lanes of Argon2id: the second choice of the OWASP Password Storage Cheat Sheet, which fits into a
small container.
"""
PASSES = 2
LANES = 1
SALT_BYTES = 16
"""The length that RFC 9106 recommends for passwords."""
HASH_BYTES = 32
"""The length of the hash in RFC 9106, section 4."""
GENERATED_BYTES = 15
"""Random bytes of a generated password: 20 characters."""
PREFIX = "$argon2id$"
"""Begins a hash in the PHC string format."""
FILE = "dashboard-password"


def hash_of(password: str) -> str:
    """Returns the Argon2id hash of a password in the PHC string format. Takes about 40 ms and 19 MiB."""
    salt = secrets.token_bytes(SALT_BYTES)
    kdf = Argon2id(salt=salt, length=HASH_BYTES, iterations=PASSES, lanes=LANES, memory_cost=MEMORY_KIB)
    return kdf.derive_phc_encoded(password.encode())


def matches(password: str, stored: str) -> bool:
    """Whether a password has this hash. `False` for a hash that cannot be read."""
    try:
        Argon2id.verify_phc_encoded(password.encode(), stored)
    except (InvalidKey, ValueError):
        return False
    return True


def new_password() -> str:
    """Returns a random password."""
    return secrets.token_urlsafe(GENERATED_BYTES)


@dataclass(frozen=True, slots=True)
class Password:
    """A password that may be used: its hash, and whether the user may act or only view."""

    hash: str
    may_act: bool


class Passwords:
    """The passwords of the dashboard: the configured ones, or the generated one.

    The file of a generated password is read each time, so that `connector password` takes effect at once.
    """

    def __init__(self, config: Config) -> None:
        self._configured = tuple(_configured(config))
        self._file = None if config.dashboard.has_sign_in else password_file(config)

    def current(self) -> tuple[Password, ...]:
        """Returns the passwords; empty when no user can sign in with one. Raises `ConfigError` for a file that cannot
        be read.
        """
        stored = None if self._file is None else read_secret(self._file)
        return self._configured if stored is None else (Password(stored.get_secret_value(), may_act=True),)


def _configured(config: Config) -> Iterator[Password]:
    dashboard = config.dashboard
    for secret, may_act in ((dashboard.password, True), (dashboard.view_password, False)):
        if secret is not None:
            text = secret.get_secret_value()
            yield Password(text if text.startswith(PREFIX) else hash_of(text), may_act)


def password_file(config: Config) -> Path | None:
    """Returns the file for the hash of a generated password, beside the SQLite file; `None` with PostgreSQL.

    Processes on several machines do not share files, so with PostgreSQL the password has to be configured.
    """
    return None if config.store.file is None else config.store.file.with_name(FILE)


def ensure_password(config: Config) -> str | None:
    """Makes a password at the first start and returns it; `None` when there is one, or none is used.

    Only its hash is stored. Raises `ConfigError` when the file cannot be written.
    """
    file = password_file(config)
    dashboard = config.dashboard
    if not dashboard.enabled or dashboard.has_sign_in or file is None or read_secret(file) is not None:
        return None
    password = new_password()
    write_secret(file, hash_of(password), replace=False)
    return password


def reset_password(config: Config) -> str:
    """Makes a new password, stores its hash and returns it. All sessions end.

    Raises `UsageError` when the password is configured or there is no file for it, and `ConfigError`.
    """
    file = password_file(config)
    if config.dashboard.has_sign_in:
        raise UsageError("the configuration says who signs in: change [dashboard] there and restart")
    if file is None:
        raise UsageError(
            "with PostgreSQL the password is a setting, because several processes use it: set "
            "CONNECTOR_DASHBOARD__PASSWORD in each; `connector password --hash` prints a hash for it"
        )
    password = new_password()
    write_secret(file, hash_of(password), replace=True)
    return password


def can_sign_in(config: Config) -> bool:
    """Whether a user can sign in: the dashboard is enabled, and there is a password or a proxy that signs users in."""
    if not config.dashboard.enabled:
        return False
    if config.dashboard.has_sign_in:
        return True
    file = password_file(config)
    try:
        return file is not None and read_secret(file) is not None
    except ConfigError:
        return False
