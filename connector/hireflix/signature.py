"""The signature over a webhook's raw body (Hireflix, Webhooks, Validate webhook events)."""

from __future__ import annotations

import hmac
from base64 import b64encode
from collections.abc import Sequence

HEADER = b"x-hireflix-signature"
"""Name of the header as an ASGI scope spells it."""


def sign(secret: str, body: bytes) -> str:
    """The header's value for a body: standard Base64 of HMAC-SHA256, keyed with the secret's UTF-8 text."""
    return b64encode(hmac.digest(secret.encode(), body, "sha256")).decode()


class Verifier:
    """Knows whether a body was signed with one of several secrets (more than one while a secret is rotated)."""

    def __init__(self, secrets: Sequence[str]) -> None:
        self._keys = tuple(secret.encode() for secret in secrets)

    def accepts(self, body: bytes, signature: bytes) -> bool:
        """Whether `signature`, the header's value as received, is that of `body` under one of the secrets.

        Only the canonical Base64 text counts, so there is nothing to decode and nothing that can raise. The time
        taken depends neither on which secret fits nor on how much of the signature does.
        """
        accepted = False
        for key in self._keys:
            accepted |= hmac.compare_digest(b64encode(hmac.digest(key, body, "sha256")), signature)
        return accepted
