"""The signature of a webhook over its raw body (Hireflix, Webhooks, Validate webhook events)."""

from __future__ import annotations

import hmac
from base64 import b64encode
from collections.abc import Sequence

HEADER = b"x-hireflix-signature"
"""Name of the header in an ASGI scope, in lower case."""


def sign(secret: str, body: bytes) -> str:
    """Returns the value of the header for a body: HMAC-SHA256 with the secret in UTF-8 as key, in standard Base64."""
    return b64encode(hmac.digest(secret.encode(), body, "sha256")).decode()


class Verifier:
    """Verifies signatures with one of several secrets. There is more than one while a secret is rotated."""

    def __init__(self, secrets: Sequence[str]) -> None:
        self._keys = tuple(secret.encode() for secret in secrets)

    def accepts(self, body: bytes, signature: bytes) -> bool:
        """Whether `signature`, the received value of the header, is the signature of `body` with one of the secrets.

        Compares the Base64 text without decoding it, so no value raises. The time does not depend on the secret that
        matches or on the part of the signature that matches.
        """
        accepted = False
        for key in self._keys:
            accepted |= hmac.compare_digest(b64encode(hmac.digest(key, body, "sha256")), signature)
        return accepted
