"""Warnings about settings that are valid but probably a mistake."""

from __future__ import annotations

import os
import re
import stat
import traceback
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from connector.config.settings import Config, MailSettings, SinkEntry, StoreSettings
from connector.errors import ConfigError, Problem
from connector.hireflix import EVENT_NAMES
from connector.interview import Stage
from connector.role import Secrets
from connector.routing import Routes

ENCRYPTED_MODES = frozenset({"require", "verify-ca", "verify-full"})
"""Values of sslmode with which libpq refuses a connection without TLS."""
_ID = re.compile(r"[0-9a-f]{24}")


def warnings_for(config: Config, needs: Secrets = Secrets.ALL) -> Iterator[Problem]:
    """Returns a warning for each setting that is valid but probably a mistake.

    Sinks are compared only when `needs` includes their secrets, which a destination may depend on.
    """
    if config.hireflix.allow_unsigned:
        yield Problem(
            "hireflix.allow_unsigned",
            "webhooks without a signature are accepted: anyone who knows the address can invent interviews",
            "set webhook_secrets, and allow_unsigned = false",
        )
    if config.hireflix.enrich and config.hireflix.api_key is None:
        yield Problem("hireflix.enrich", "these fields are not read without an API key", "set hireflix.api_key")
    if not config.sinks and not config.unrouted:
        yield Problem("sinks", "no sink is configured: events are stored and not delivered", "add a [sinks.NAME]")
    for name in sorted(config.unrouted.keys() - set(config.alerts.sinks)):
        yield Problem(f"sinks.{name}", "no route names this sink: it is not started", "name it in a route")
    for name, entry in config.sinks.items():
        if entry.config.decides and config.hireflix.api_key is None:
            yield Problem(
                f"sinks.{name}",
                "users decide there, and decisions cannot be sent to Hireflix without an API key",
                "set CONNECTOR_HIREFLIX__API_KEY",
            )
    if Secrets.SINKS in needs:
        yield from _same_target(list(config.sinks.values()))
    yield from _email(config.alerts.email)
    yield from _store(config.store)
    yield from _routes(config)
    yield from _files(config)


def position_warnings(config: Config, positions: Iterable[tuple[str, str]]) -> list[Problem]:
    """Returns a warning for each position (id and name) whose events no route accepts."""
    open_routes = [replace(route, events=(), stages=(), min_score=None, otherwise=False) for route in config.routes]
    routes = Routes(open_routes, {name: entry.cls.state for name, entry in config.sinks.items()})
    return [
        Problem("routes", f"no route matches the position {name!r} ({id_})", "add a route, or one without positions")
        for id_, name in positions
        if not routes.match("", id_, name, Stage.PENDING, None)
    ]


def _files(config: Config) -> Iterator[Problem]:
    """Yields a warning for each file with secrets that every user of this machine can read, and for each file that
    every user can change.
    """
    keys = {getattr(entry.config, "credentials_file", None) for entry in config.sinks.values()}
    private = [config.folder / ".env", *sorted(key for key in keys if isinstance(key, Path))]
    files = [*private, *([config.path] if config.path is not None else [])]
    for path in files:
        with suppress(OSError):  # a missing file is reported where it is read
            mode = path.stat().st_mode
            if mode & stat.S_IWOTH:
                yield Problem(path.name, "every user of this machine can change it", f"chmod o-rwx {path}")
            elif mode & stat.S_IROTH and path in private:
                yield Problem(path.name, "every user of this machine can read the secrets in it", f"chmod o-rwx {path}")


def _email(email: MailSettings | None) -> Iterator[Problem]:
    if email is not None and email.security == "none" and email.password and not _is_on_this_machine(email.host):
        yield Problem(
            "alerts.email.security",
            "the password goes to the mail server without encryption",
            'use "starttls" or "tls"',
        )


def _store(store: StoreSettings) -> Iterator[Problem]:
    """Yields a warning when the connection to a database on another machine may not be encrypted.

    The values of sslmode are those of libpq (PostgreSQL documentation, 32.19.3). Below `require` libpq accepts a
    connection without TLS.
    """
    if store.file is not None:
        return
    parts = urlsplit(store.url.get_secret_value())
    asked = dict(parse_qsl(parts.query))
    hosts = [asked.get("host") or host for host in (_hosts(parts.netloc) or [""])]
    mode = asked.get("sslmode") or os.environ.get("PGSSLMODE", "prefer")
    if mode not in ENCRYPTED_MODES and any(not _is_on_this_machine(unquote(host)) for host in hosts):
        yield Problem(
            "store.url",
            f"the database is on another machine, and sslmode {mode!r} accepts a connection without TLS",
            "add ?sslmode=verify-full (or require) to the URL",
        )


def _hosts(netloc: str) -> list[str]:
    """Returns the hosts of the address of a database, which may name several."""
    listed = netloc.rpartition("@")[2].split(",")
    return [re.sub(r":\d*$", "", host).strip("[]") for host in listed]


def _is_on_this_machine(host: str) -> bool:
    """Whether a host is a Unix socket or a loopback address."""
    if not host or host.startswith(("/", "@")) or host.lower() == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _routes(config: Config) -> Iterator[Problem]:
    falls_through = any(route.otherwise for route in config.routes)
    for index, route in enumerate(config.routes):
        if route.min_score is not None and not route.events:
            yield Problem(
                f"routes[{index}].min_score",
                "without `events` every later event of an interview with that score is sent too",
                'add events = ["interview.score-updated"]',
            )
        for event in route.events:
            if event not in EVENT_NAMES:
                yield Problem(f"routes[{index}].events", f"Hireflix sends no event {event!r}: it never matches")
        for position in route.positions:
            if falls_through and not route.otherwise and _is_plain_name(position):
                yield Problem(
                    f"routes[{index}].positions",
                    f"once {position!r} is renamed, its events go to the route with `otherwise`",
                    "use the id of the position",
                )


def _is_plain_name(position: str) -> bool:
    return not _ID.fullmatch(position) and "*" not in position and "?" not in position


def _same_target(entries: Sequence[SinkEntry]) -> Iterator[Problem]:
    first: dict[tuple[str, str], str] = {}
    for entry in entries:
        target = (entry.type, _destination(entry))
        other = first.setdefault(target, entry.name)
        if other != entry.name:
            yield Problem(f"sinks.{entry.name}", f"writes the same destination as {other}", "remove one of them")


def _destination(entry: SinkEntry) -> str:
    """Returns the destination of a sink. Raises `ConfigError` with the place of an error of its class."""
    try:
        return str(entry.cls(entry.name, entry.config).destination)
    except Exception as error:  # the class of another package may raise any exception
        at = traceback.extract_tb(error.__traceback__)[-1]
        message = f"the class {entry.cls.__name__} failed: {type(error).__name__} in {at.filename}, line {at.lineno}"
        raise ConfigError([Problem(f"sinks.{entry.name}", message, "correct that class, or ask its author")]) from error
