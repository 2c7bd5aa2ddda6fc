"""Who the sink is to Google: a service account's key, or credentials that google-auth finds by itself."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import msgspec

from connector.http import safe_url
from sinks.google_sheets.config import GoogleSheetsConfig
from sinks.google_sheets.errors import CallFailed, bad_credentials

NEEDED = ("client_email", "private_key", "token_uri")
_ESCAPED_LINE_END = re.compile(r"(?:\\+r)?\\+n")
"""A line end that is still escaped, once or several times: `.env` files and shells do that to a key."""


@dataclass(frozen=True)
class Account:
    """What the credentials are made from, without google-auth, so that `check` can look at it at once.

    `email` is the service account's address, `""` when only google-auth knows it. `key` is the decoded key file and
    holds the private key: it is never shown. Without a key the Application Default Credentials are used; `impersonate`
    is the service account that they act as.
    """

    email: str = ""
    key: dict[str, Any] | None = field(default=None, repr=False)
    impersonate: str = ""

    @property
    def bucket(self) -> str:
        """Name of the rate limits, the same in every sink and process that uses this account; without its address."""
        identity = self.email or "application default credentials"
        return f"sheets:{sha256(identity.encode()).hexdigest()[:12]}"


def load_account(config: GoogleSheetsConfig) -> Account:
    """Reads the key if there is one. Raises `CallFailed` with what to do; the message has nothing of its content."""
    if config.auth == "key":
        return _from_key(config)
    return Account(email=config.impersonate or "", impersonate=config.impersonate or "")


def _from_key(config: GoogleSheetsConfig) -> Account:
    try:
        key = msgspec.json.decode(_key_text(config), type=dict[str, Any])
    except msgspec.MsgspecError as error:
        raise CallFailed(bad_credentials("the service account's key is not JSON")) from error
    if missing := [name for name in NEEDED if not isinstance(key.get(name), str)]:
        raise CallFailed(bad_credentials(f"the service account's key lacks {', '.join(missing)}"))
    try:
        safe_url(key["token_uri"])
    except ValueError as error:
        raise CallFailed(bad_credentials("the token_uri of the service account's key is not safe")) from error
    key["private_key"] = _ESCAPED_LINE_END.sub("\n", key["private_key"])
    return Account(key["client_email"], key)


def _key_text(config: GoogleSheetsConfig) -> bytes:
    """The key as JSON, without the byte order mark that some editors on Windows put first."""
    return _key_bytes(config).removeprefix(codecs.BOM_UTF8)


def _key_bytes(config: GoogleSheetsConfig) -> bytes:
    if config.credentials is not None:
        return config.credentials.get_secret_value().encode()
    assert config.credentials_file is not None
    try:
        return config.credentials_file.read_bytes()
    except OSError as error:
        reason = f"the file {config.credentials_file.name} cannot be read ({error.strerror})"
        raise CallFailed(bad_credentials(reason)) from error
