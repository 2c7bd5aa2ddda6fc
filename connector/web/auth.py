"""Who may see and do what: finds out who sends a request, and whether the request may change something.

A user signs in by password, or by a proxy. A program has a token. The cookie of a session and the token of a form are
signed with HMAC-SHA256. The key covers the passwords, so that a changed password ends every session.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import ipaddress
import secrets
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from cryptography.fernet import Fernet, InvalidToken
from litestar import Request
from litestar.connection import ASGIConnection
from litestar.enums import RequestEncodingType
from litestar.exceptions import HTTPException, NotAuthorizedException, PermissionDeniedException
from litestar.handlers import BaseRouteHandler
from litestar.middleware import AbstractAuthenticationMiddleware, AuthenticationResult
from litestar.types import ASGIApp, Scope
from sqlalchemy import Connection, select

from connector.config import Config
from connector.operations.password import Passwords, matches
from connector.store import source
from connector.store.base import Store
from connector.store.dialects import insert_new
from connector.store.schema import meta
from connector.text import clean
from connector.web.receiver import client_of
from connector.web.server import peer_of

COOKIE = "connector_session"
FORM_COOKIE = "connector_form"
"""Holds a random value before the sign-in, which the token of the sign-in form belongs to."""
HOST_PREFIX = "__Host-"
"""A browser accepts a cookie of this name only from https, for this host and for all paths (RFC 6265bis, 4.1.3)."""
VALUE_MAX = 1024
"""Characters of a cookie that is read. A session of ours has about 200."""
ATTEMPTS = 5
"""Failed attempts of one client within `PERIOD_SECONDS`; then it has to wait."""
PERIOD_SECONDS = 900.0
CLIENTS_MAX = 10_000
"""Clients that are remembered; the one that failed the longest time ago is forgotten first."""
KEY_ROW = "session_key"
"""The row of `meta` with the random key of the sessions, which all processes of a store share."""
ENDED_ROW = "ended_sessions"
"""The row of `meta` with the sessions that users ended."""
PASSWORD_MAX = 1000
"""Characters of a password that is tried."""
NAME_MAX = 200
"""Characters of a name that a proxy gives."""
QUEUE_MAX = 20
"""Attempts that wait for the thread that hashes; further ones are refused."""
SEALED_SECONDS = 86_400
"""Time in which a sealed text of an address can be read: a search that is a day old is entered again."""


class WebSession(msgspec.Struct, frozen=True, array_like=True):
    """The content of a session cookie. `expires_at` is epoch milliseconds; `id` makes every session different."""

    name: str
    may_act: bool
    expires_at: int
    id: str = msgspec.field(default_factory=lambda: secrets.token_urlsafe(12))


class EndedSessions(msgspec.Struct, frozen=True):
    """The ids of the sessions that users ended before they expired, and when they expire (epoch milliseconds)."""

    v: int = 1
    ended: dict[str, int] = {}


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


def seal(key: bytes, text: str, now: int) -> str:
    """Returns a text for an address, encrypted, because logs and the history of a browser keep addresses.

    The form is that of Fernet (https://github.com/fernet/spec/blob/master/Spec.md).
    """
    return _fernet(key).encrypt_at_time(text.encode(), now // 1000).decode()


def unseal(key: bytes, value: str, now: int) -> str | None:
    """Returns the text of a sealed value; `None` when it is not ours, was changed or is older than `SEALED_SECONDS`."""
    try:
        return _fernet(key).decrypt_at_time(value.encode(), SEALED_SECONDS, now // 1000).decode()
    except InvalidToken:
        return None


def _fernet(key: bytes) -> Fernet:
    return Fernet(base64.urlsafe_b64encode(hmac.digest(key, b"sealed", hashlib.sha256)))


def _signature(key: bytes, purpose: str, text: str) -> str:
    return _encoded(hmac.digest(key, f"{purpose}:{text}".encode(), hashlib.sha256))


def _is_signature(key: bytes, purpose: str, text: str, signature: str) -> bool:
    return hmac.compare_digest(_signature(key, purpose, text).encode(), signature.encode())


def _encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


class Throttle:
    """Counts the failed attempts of each client. Times are seconds of a monotonic clock."""

    def __init__(self) -> None:
        self._failed: OrderedDict[str, deque[float]] = OrderedDict()

    def wait_seconds(self, client: str, now: float) -> float:
        """Returns the time until the client may try again; 0 when it may try now."""
        times = self._failed.get(client)
        if times is None:
            return 0
        while times and times[0] <= now - PERIOD_SECONDS:
            times.popleft()
        return times[0] + PERIOD_SECONDS - now if len(times) >= ATTEMPTS else 0

    def attempt(self, client: str, now: float) -> None:
        """Counts an attempt as failed until `succeeded`, so that attempts at the same time are all counted."""
        self._failed.setdefault(client, deque(maxlen=ATTEMPTS)).append(now)
        self._failed.move_to_end(client)
        if len(self._failed) > CLIENTS_MAX:
            self._failed.popitem(last=False)

    def succeeded(self, client: str) -> None:
        """Forgets the failed attempts of a client that has signed in."""
        self._failed.pop(client, None)


HASH_NAMES = {True: "operator", False: "viewer"}
"""The name of the user of each password."""


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who sends a request. `owner` is what the tokens of its forms belong to, `client` its address.

    `is_program`: the request has a bearer token, which a browser does not add, so it needs no form of ours.
    """

    name: str
    may_act: bool
    owner: str
    client: str
    is_program: bool = False

    @property
    def actor(self) -> str:
        """Who did something, for the audit log."""
        name = f"api:{self.name}" if self.is_program else f"web:{self.name}"
        return f"{name} ({self.client})" if self.client else name


class TooManyAttempts(HTTPException):
    """A client has to wait before the next attempt to sign in."""

    status_code = 429

    def __init__(self, seconds: float) -> None:
        self.seconds = int(seconds) + 1
        super().__init__(
            detail=f"too many attempts to sign in; try again in {self.seconds} s",
            headers={"retry-after": str(self.seconds)},
        )


class Access:
    """Who may use the dashboard, by the configuration and the store of one process.

    `clock` returns epoch milliseconds.
    """

    def __init__(self, config: Config, store: Store, clock: Callable[[], int]) -> None:
        self._settings = config.dashboard
        self._networks = [ipaddress.ip_network(address) for address in config.dashboard.trust_addresses]
        self._passwords = Passwords(config)
        self._store = store
        self._clock = clock
        self._stored_key: str | None = None
        self._throttle = Throttle()
        self._hashing = asyncio.Lock()
        self._waiting = 0

    @property
    def has_passwords(self) -> bool:
        """Whether a password can be used at all."""
        return bool(self._passwords.current())

    async def key(self) -> bytes:
        """Returns the key for signatures. Raises `StoreUnavailable`."""
        if self._stored_key is None:
            self._stored_key = await self._store.write(_stored_key)
        return session_key(self._stored_key, [password.hash for password in self._passwords.current()])

    async def visitor(self, connection: ASGIConnection[Any, Any, Any, Any]) -> Visitor | None:
        """Returns who sends a request: by a trusted proxy, the token of a program, or a session."""
        client = client_of(connection.scope)
        if (name := self._proxy_user(connection)) is not None:
            users = self._settings.act_users
            return Visitor(name, name in users or "*" in users, f"proxy:{name}", client)
        if (token := self._bearer(connection)) is not None:
            may_act = self._settings.tokens[token].role == "act"
            return Visitor(token, may_act, f"api:{token}", client, is_program=True)
        cookie = connection.cookies.get(cookie_name(connection.scope, COOKIE), "")
        if not cookie:
            return None
        session = read_session(await self.key(), cookie, self._clock())
        if session is None or session.id in (await self._store.query(ended_sessions)).ended:
            return None
        return Visitor(session.name, session.may_act, cookie, client)

    def _proxy_user(self, connection: ASGIConnection[Any, Any, Any, Any]) -> str | None:
        """Returns the name in the header of a trusted proxy. The header of any other client is ignored."""
        header = self._settings.trust_header
        if header is None:
            return None
        try:
            peer = ipaddress.ip_address(peer_of(connection.scope))
        except ValueError:
            return None
        if not any(peer in network for network in self._networks):
            return None
        names = connection.headers.getall(header, [])
        name = clean(names[0]).strip()[:NAME_MAX] if len(names) == 1 else ""
        return name or None

    def _bearer(self, connection: ASGIConnection[Any, Any, Any, Any]) -> str | None:
        """Returns the name of the token of a program; `None` without a valid one."""
        scheme, _, text = connection.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            return None
        sent = text.strip().encode()
        for name, each in self._settings.tokens.items():
            if hmac.compare_digest(sent, each.token.get_secret_value().encode()):
                return name
        return None

    async def sign_in(self, password: str, scope: Scope) -> str | None:
        """Returns the cookie of a new session; `None` for a wrong password. Raises `TooManyAttempts`."""
        client, now = client_of(scope), time.monotonic()
        if seconds := self._throttle.wait_seconds(client, now):
            raise TooManyAttempts(seconds)
        if self._waiting >= QUEUE_MAX:
            raise TooManyAttempts(1)
        self._throttle.attempt(client, now)
        may_act = await self._right_of(password)
        if may_act is None:
            return None
        self._throttle.succeeded(client)
        expires_at = self._clock() + self._settings.session_seconds * 1000
        return write_session(await self.key(), WebSession(HASH_NAMES[may_act], may_act, expires_at))

    async def end_session(self, cookie: str) -> None:
        """Ends the session of a cookie in every process, also for a copy of the cookie. Raises `StoreUnavailable`."""
        now = self._clock()
        session = read_session(await self.key(), cookie, now)
        if session is not None:
            await self._store.write(lambda connection: store_end(connection, session, now))

    async def _right_of(self, password: str) -> bool | None:
        """Returns whether this password allows to act; `None` for a wrong one.

        Checks one hash at a time, because each needs 19 MiB and 40 ms of a core.
        """
        if len(password) > PASSWORD_MAX:
            return None
        self._waiting += 1
        try:
            async with self._hashing:
                for each in self._passwords.current():
                    if await asyncio.to_thread(matches, password, each.hash):
                        return each.may_act
        finally:
            self._waiting -= 1
        return None

    async def seal(self, text: str) -> str:
        """Returns a text from outside in a form that may be part of an address; `""` for an empty one."""
        return seal(await self.key(), text, self._clock()) if text else ""

    async def unseal(self, value: str) -> str | None:
        """Returns the text of a value from `seal`; `None` when it cannot be read or has expired."""
        return unseal(await self.key(), value, self._clock()) if value else ""

    async def require_own_form(self, request: Request[Any, Any, Any], owner: str) -> None:
        """Raises `PermissionDeniedException` unless a page of ours sent the form.

        A browser says so in `Sec-Fetch-Site` (https://www.w3.org/TR/fetch-metadata/), on https and on loopback. Without
        that header the form has to hold the token of its owner.
        """
        site = request.headers.get("sec-fetch-site")
        if site == "same-origin":
            return
        if site is None and owner:
            token = (await form_values(request, "token"))["token"]
            if is_form_token(await self.key(), owner, token):
                return
        raise PermissionDeniedException("the form was not sent from a page of the dashboard; open the page again")


def _stored_key(connection: Connection) -> str:
    """Returns the random key of the store; the first process creates it."""
    insert_new(connection, meta, [{"key": KEY_ROW, "value": secrets.token_hex(32)}], ["key"])
    return str(connection.execute(select(meta.c.value).where(meta.c.key == KEY_ROW)).scalar_one())


async def form_values(request: Request[Any, Any, Any], *names: str) -> dict[str, str]:
    """Returns the fields of a form, `""` for one that is missing.

    Raises `HTTPException` for a form in parts, which no page of ours sends: its parser raises other exceptions for text
    that cannot be decoded.
    """
    if request.content_type[0] == RequestEncodingType.MULTI_PART:
        raise HTTPException(status_code=415, detail="send the form as application/x-www-form-urlencoded")
    sent = await request.form()
    return {name: str(sent.get(name, "")) for name in names}


def ended_sessions(connection: Connection, *, for_update: bool = False) -> EndedSessions:
    """Returns the sessions that users ended."""
    return source.read(connection, ENDED_ROW, EndedSessions, for_update=for_update) or EndedSessions()


def store_end(connection: Connection, session: WebSession, now: int) -> None:
    """Adds a session to those that ended, and removes the expired ones."""
    known = ended_sessions(connection, for_update=True).ended
    ended = {id_: expires_at for id_, expires_at in known.items() if expires_at > now} | {
        session.id: session.expires_at
    }
    source.write(connection, ENDED_ROW, EndedSessions(ended=ended))


def is_https(scope: Scope) -> bool:
    """Whether the browser uses https, directly or to a trusted proxy."""
    return scope["scheme"] == "https"


def cookie_name(scope: Scope, name: str) -> str:
    """Returns the name of a cookie for this connection."""
    return HOST_PREFIX + name if is_https(scope) else name


class Authentication(AbstractAuthenticationMiddleware):
    """Refuses requests without a visitor. `access` says who that is."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        super().__init__(app, exclude_from_auth_key="public")
        self._access = access

    async def authenticate_request(self, connection: ASGIConnection[Any, Any, Any, Any]) -> AuthenticationResult:
        visitor = await self._access.visitor(connection)
        if visitor is None:
            # RFC 9110, 15.5.2: an answer with 401 names a way to authenticate
            raise NotAuthorizedException("sign in, or send a valid token", headers={"www-authenticate": "Bearer"})
        return AuthenticationResult(user=visitor, auth=self._access)


def authentication(access: Access) -> Callable[[ASGIApp], ASGIApp]:
    """Returns the middleware. It is a function, because Litestar copies the arguments of `DefineMiddleware`."""
    return lambda app: Authentication(app, access)


async def may_act(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
    """A guard for requests that change something: the visitor may act, and a page of ours or a program sent it."""
    visitor: Visitor = connection.user
    if not visitor.may_act:
        raise PermissionDeniedException(f"{visitor.name} may view and not act")
    if visitor.is_program:
        return
    access: Access = connection.auth
    assert isinstance(connection, Request)
    await access.require_own_form(connection, visitor.owner)
