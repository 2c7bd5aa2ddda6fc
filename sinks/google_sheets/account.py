"""The service account's key: who we are to Google. Read when it is first needed, and again after it was refused."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
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
    """A service account. `info` holds its private key: never shown."""

    email: str
    info: dict[str, Any]

    @property
    def bucket(self) -> str:
        """The name that its rate limits go by, the same in every sink and process; not its address."""
        return f"sheets:{sha256(self.email.encode()).hexdigest()[:12]}"

    def __repr__(self) -> str:
        return f"Account({self.email!r})"


def load_account(config: GoogleSheetsConfig) -> Account:
    """Reads the key. Raises `CallFailed` with what to do; nothing of its content is in the message."""
    try:
        info = msgspec.json.decode(_key_text(config), type=dict[str, Any])
    except msgspec.MsgspecError as error:
        raise CallFailed(bad_credentials("the service account's key is not JSON")) from error
    if missing := [name for name in NEEDED if not isinstance(info.get(name), str)]:
        raise CallFailed(bad_credentials(f"the service account's key lacks {', '.join(missing)}"))
    try:
        safe_url(info["token_uri"])
    except ValueError as error:
        raise CallFailed(bad_credentials("the token_uri of the service account's key is not safe")) from error
    info["private_key"] = _ESCAPED_LINE_END.sub("\n", info["private_key"])
    return Account(info["client_email"], info)


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
