"""Signed values: the cookie of a session, and the token of a form.

A value is signed with HMAC-SHA256. The key covers the passwords, so that a changed password ends every session.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Sequence

import msgspec

COOKIE = "connector_session"
FORM_COOKIE = "connector_form"
"""Holds a random value before the sign-in, which the token of the sign-in form belongs to."""
HOST_PREFIX = "__Host-"
"""A browser accepts a cookie of this name only from https, for this host and for all paths (RFC 6265bis, 4.1.3)."""
VALUE_MAX = 1024
"""Characters of a cookie that is read. A session of ours has about 200."""


class WebSession(msgspec.Struct, frozen=True, array_like=True):
    """What a session cookie says. `expires_at` is epoch milliseconds; `id` makes every session different."""

    name: str
    may_act: bool
    expires_at: int
    id: str = msgspec.field(default_factory=lambda: secrets.token_urlsafe(12))


def session_key(stored: str, hashes: Sequence[str]) -> bytes:
    """Returns the key for signatures, from the random key of the store and the hashes of the passwords."""
    return hmac.digest(stored.encode(), "\n".join(hashes).encode(), hashlib.sha256)


def write_session(key: bytes, session: WebSession) -> str:
    """Returns the value of the cookie."""
    text = _encoded(msgspec.json.encode(session))
    return f"{text}.{_signature(key, 'session', text)}"


def read_session(key: bytes, value: str, now: int) -> WebSession | None:
    """Returns the session of a cookie; `None` when it is not ours, was changed or has expired at `now`."""
    text, _, signature = value.partition(".")
    if len(value) > VALUE_MAX or not _is_signature(key, "session", text, signature):
        return None
    try:
        session = msgspec.json.decode(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), type=WebSession)
    except (binascii.Error, msgspec.MsgspecError):  # signed by another version
        return None
    return session if session.expires_at > now else None


def form_token(key: bytes, owner: str) -> str:
    """Returns a token for the forms of an owner: a session, or a browser before the sign-in.

    Every token is different, so that the size of compressed pages says nothing about it (BREACH,
    https://www.breachattack.com, section "masking secrets").
    """
    salt = secrets.token_urlsafe(12)
    return f"{salt}.{_signature(key, 'form', f'{salt}.{owner}')}"


def is_form_token(key: bytes, owner: str, token: str) -> bool:
    """Whether a token belongs to this owner."""
    salt, _, signature = token.partition(".")
    return _is_signature(key, "form", f"{salt}.{owner}", signature)


def _signature(key: bytes, purpose: str, text: str) -> str:
    return _encoded(hmac.digest(key, f"{purpose}:{text}".encode(), hashlib.sha256))


def _is_signature(key: bytes, purpose: str, text: str, signature: str) -> bool:
    return hmac.compare_digest(_signature(key, purpose, text).encode(), signature.encode())


def _encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
