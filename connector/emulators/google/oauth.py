"""Google's token endpoint for service accounts (Using OAuth 2.0 for Server to Server Applications)."""

from __future__ import annotations

import base64
import json
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from connector.emulators.google.errors import scope_missing, unauthenticated

GRANT_TYPE = "urn:ietf:params:oauth:grant-type:jwt-bearer"
EXCHANGE_TYPE = "urn:ietf:params:oauth:grant-type:token-exchange"
FEDERATED = "principal://iam.googleapis.com/emulated"
"""The subject of a federated token; it has no e-mail address."""
GOOGLE_AUDIENCE = "https://oauth2.googleapis.com/token"
WRITE_SCOPES = frozenset(f"https://www.googleapis.com/auth/{name}" for name in ("spreadsheets", "drive", "drive.file"))
READ_SCOPES = WRITE_SCOPES | {
    f"https://www.googleapis.com/auth/{name}" for name in ("spreadsheets.readonly", "drive.readonly")
}
LIFETIME = 3600
_CLOCK_SKEW = 300
KEY_BITS = 1024
"""The least that cryptography accepts. google-auth loads the key for every client and again for every token, and
checking a key of 2048 bits takes 40 ms of processor time.
"""


@cache
def private_key() -> rsa.RSAPrivateKey:
    """Returns one key for the process, because creating a key is slow."""
    return rsa.generate_private_key(public_exponent=65537, key_size=KEY_BITS)


@dataclass(frozen=True, slots=True)
class Token:
    email: str
    scopes: frozenset[str]
    expires_at: float


class TokenRefused(Exception):
    """The 400 of the token endpoint: an OAuth error code and its description (RFC 6749 section 5.2)."""

    def __init__(self, error: str, description: str) -> None:
        super().__init__(error)
        self.body = {"error": error, "error_description": description}


class Tokens:
    """Known service accounts and the tokens they got. `clock` is in seconds and decides when tokens expire. `wall` is
    the time of day in epoch seconds, which must be within the validity of a grant.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.accounts: set[str] = set()
        self._tokens: dict[str, Token] = {}
        self._refusal: TokenRefused | None = None
        self.wall: Callable[[], float] = time.time

    def refuse(self, error: str = "invalid_grant", description: str = "Invalid JWT Signature.") -> None:
        """Refuses every grant until `accept`."""
        self._refusal = TokenRefused(error, description)

    def accept(self) -> None:
        self._refusal = None

    def revoke(self) -> None:
        """Makes every token invalid; new ones can be requested."""
        self._tokens.clear()

    def issue(self, email: str, scopes: frozenset[str] = WRITE_SCOPES) -> str:
        """Returns a token without the endpoint, for tests that call the API directly."""
        token = "ya29." + secrets.token_urlsafe(48)
        self._tokens[token] = Token(email, scopes, self.clock() + LIFETIME)
        return token

    def grant(self, form: Mapping[str, Any], url: str) -> dict[str, Any]:
        """The endpoint's reply to a form; `url` is its own address, which the assertion may name as audience."""
        if self._refusal is not None:
            raise self._refusal
        if form.get("grant_type") != GRANT_TYPE:
            raise TokenRefused("unsupported_grant_type", f"Invalid grant_type: {form.get('grant_type', '')}")
        claims = _verified(str(form.get("assertion", "")))
        if claims.get("iss") not in self.accounts:
            raise TokenRefused("invalid_grant", "Invalid grant: account not found")
        _check_times(claims, self.wall())
        if claims.get("aud") not in {url, GOOGLE_AUDIENCE}:
            reason = f"Failed audience check. The right audience is {GOOGLE_AUDIENCE}"
            raise TokenRefused("invalid_grant", f"Invalid JWT: {reason}")
        scopes = frozenset(str(claims.get("scope", "")).split())
        if not scopes:
            raise TokenRefused("invalid_scope", "Invalid OAuth scope or ID token audience provided.")
        token = self.issue(str(claims["iss"]), scopes)
        return {"access_token": token, "expires_in": LIFETIME, "token_type": "Bearer"}

    def exchange(self, form: Mapping[str, Any]) -> dict[str, Any]:
        """Workload identity federation: exchanges a foreign token (Security Token Service, method token)."""
        if form.get("grant_type") != EXCHANGE_TYPE or not form.get("subject_token"):
            raise TokenRefused("invalid_request", "A subject token is required.")
        token = self.issue(FEDERATED, frozenset(str(form.get("scope", "")).split()))
        return {
            "access_token": token,
            "issued_token_type": "urn:ietf:params:oauth:token-type:access_token",
            "token_type": "Bearer",
            "expires_in": LIFETIME,
        }

    def impersonate(self, email: str, scopes: Iterable[str]) -> dict[str, Any]:
        """Issues a token of a service account (IAM Credentials API, generateAccessToken)."""
        expires = datetime.fromtimestamp(self.wall() + LIFETIME, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return {"accessToken": self.issue(email, frozenset(scopes)), "expireTime": expires}

    def write_federation(self, path: Path, url: str, email: str = "") -> Path:
        """Writes a credential configuration for workload identity federation; with `email` it impersonates that."""
        subject = path.with_suffix(".token")
        subject.write_text("a-token-of-another-provider")
        settings: dict[str, Any] = {
            "type": "external_account",
            # an audience without a project number: for others google-auth asks a host of Google for the project
            "audience": "//iam.googleapis.com/locations/global/workforcePools/pool/providers/one",
            "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
            "token_url": f"{url}/sts",
            "credential_source": {"file": str(subject)},
        }
        if email:
            settings["service_account_impersonation_url"] = f"{url}/iam/serviceAccounts/{email}:generateAccessToken"
        path.write_text(json.dumps(settings))
        return path

    def authorise(self, header: str, *, write: bool) -> str:
        """The account behind an `Authorization` header; raises Google's 401 or 403."""
        scheme, _, text = header.partition(" ")
        if scheme.lower() != "bearer" or not text:
            raise unauthenticated("CREDENTIALS_MISSING")
        token = self._tokens.get(text)
        if token is None:
            raise unauthenticated("ACCESS_TOKEN_TYPE_UNSUPPORTED")
        if token.expires_at <= self.clock():
            raise unauthenticated("ACCESS_TOKEN_EXPIRED")
        if token.scopes.isdisjoint(WRITE_SCOPES if write else READ_SCOPES):
            raise scope_missing()
        return token.email

    def write_account(self, path: Path, email: str, token_uri: str) -> Path:
        """Writes a service account's key file that works with this endpoint, readable by its owner only."""
        self.accounts.add(email)
        pem = private_key().private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        account = {
            "type": "service_account",
            "project_id": "emulated-project",
            "private_key_id": "0123456789abcdef0123456789abcdef01234567",
            "private_key": pem.decode(),
            "client_email": email,
            "client_id": "100000000000000000001",
            "token_uri": token_uri,
            "universe_domain": "googleapis.com",
        }
        path.touch(mode=0o600)
        path.write_text(json.dumps(account, indent=2))
        return path


def _verified(assertion: str) -> dict[str, Any]:
    """The claims of a JWT that our key signed (RFC 7515, RFC 7519)."""
    try:
        head, payload, signature = assertion.split(".")
        if json.loads(_decoded(head)).get("alg") != "RS256":
            raise TokenRefused("invalid_grant", "Invalid JWT: Only RS256 is supported.")
        signed = f"{head}.{payload}".encode()
        private_key().public_key().verify(_decoded(signature), signed, padding.PKCS1v15(), hashes.SHA256())
        claims: dict[str, Any] = json.loads(_decoded(payload))
    except InvalidSignature:
        raise TokenRefused("invalid_grant", "Invalid JWT Signature.") from None
    except (ValueError, AttributeError):
        raise TokenRefused("invalid_request", "Bad Request") from None
    return claims


def _decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def _check_times(claims: Mapping[str, Any], now: float) -> None:
    issued, expires = float(claims.get("iat", 0)), float(claims.get("exp", 0))
    if not (issued - _CLOCK_SKEW <= now <= expires + _CLOCK_SKEW and expires - issued <= LIFETIME):
        reason = "Token must be a short-lived token (60 minutes) and in a reasonable timeframe."
        raise TokenRefused("invalid_grant", f"Invalid JWT: {reason} Check your iat and exp values in the JWT claim.")
