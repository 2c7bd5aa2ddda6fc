"""Signs webhooks like Hireflix and posts them: one webhook, or the stream of the demo."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx

from connector.config import Config
from connector.errors import ConnectorError, UsageError
from connector.hireflix import samples
from connector.hireflix.samples import stream
from connector.hireflix.signature import HEADER, sign
from connector.http import host_of, is_loopback
from connector.operations.sinks import require_known
from connector.operations.store_access import now, reading
from connector.store.status import sinks

TIMEOUT_SECONDS = 30.0
"""Longest wait for a response; the receiver answers within seconds even when the store is busy."""
POLL_SECONDS = 0.1
"""Time between two checks whether all deliveries are done; short, because a user waits."""


def sample_body(name: str, *, as_is: bool) -> bytes:
    """Returns the body of a sample with the current time as date, or unchanged with `as_is`.

    Raises `UsageError` for an unknown name.
    """
    body = samples.sample(require_known(name, samples.names(), "sample"))
    return body if as_is else samples.dated(body, now())


SAMPLE_INTERVIEW = "connector-sample"
"""The interview of `marked_sample`."""


def marked_sample() -> bytes:
    """Returns the body of an `interview.finish` whose names say that it is a sample, with the current time as date."""
    payload = json.loads(sample_body("interview.finish", as_is=False))
    payload["data"] |= {
        "id": SAMPLE_INTERVIEW,
        "candidate": {"name": "Sample candidate", "email": "sample@example.com"},
        "position": {"id": SAMPLE_INTERVIEW, "name": "Sample position"},
        "url": _links(SAMPLE_INTERVIEW),
    }
    return json.dumps(payload).encode()


def _links(interview_id: str) -> dict[str, str]:
    """Returns the link of a sample interview. It has the form of a real one, and Hireflix has no page there."""
    return {"private": f"https://admin.hireflix.com/jobs/{SAMPLE_INTERVIEW}/interview/{interview_id}"}


JOURNEY = "journey"
"""The name of the sample that is the whole life of one interview."""


@dataclass(frozen=True, slots=True)
class JourneyStep:
    """One webhook of a journey. `changes` are the fields of the interview that are new."""

    event: str
    changes: Mapping[str, Any]

    def body(self, interview: dict[str, Any], at: int) -> bytes:
        """Changes the interview, and returns the body with `at` (epoch milliseconds) as date."""
        interview |= {name: at if value is _NOW else value for name, value in self.changes.items()}
        return json.dumps({"event": self.event, "data": interview, "date": at}).encode()


_NOW = object()
"""Placeholder for the date of the step."""
JOURNEY_STEPS = (
    JourneyStep("interview.create", {"status": "pending", "createdAt": _NOW}),
    JourneyStep("interview.finish", {"status": "completed"}),
    JourneyStep("interview.score-updated", {"completed": _NOW, "answered": True, "score": {"value": 4}}),
    JourneyStep("interview.status-change", {"finalist": _NOW}),
)


def journey_interview(at: int) -> dict[str, Any]:
    """Returns the interview of a new journey. Its names say that it is a sample."""
    interview: dict[str, Any] = json.loads(marked_sample())["data"]
    del interview["status"]
    interview_id = f"{SAMPLE_INTERVIEW}-{at}"
    return interview | {"id": interview_id, "candidate": {"name": "Sample journey"}, "url": _links(interview_id)}


def receiver_url(settings: Config, url: str | None = None) -> str:
    """Returns the URL to post to: `url`, with the configured path if it has none, or the configured address.

    Raises `UsageError` for an invalid URL, and when the configured port is 0.
    """
    path = settings.hireflix.webhook_path
    if url is None:
        if settings.server.port == 0:
            raise UsageError("server.port is 0, so the port is unknown; give the address with --url")
        return f"http://{_reachable(settings.server.host)}:{settings.server.port}{path}"
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise UsageError("--url must be an address such as http://127.0.0.1:8000")
    return url if parts.path.strip("/") else f"{url.rstrip('/')}{path}"


def _reachable(host: str) -> str:
    host = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)  # noqa: S104 - read, not bound
    return f"[{host}]" if ":" in host else host


def secret_of(settings: Config) -> str | None:
    """Returns the first webhook secret, `None` when there is none and the service accepts unsigned webhooks.

    Raises `UsageError` when there is none and the service needs one.
    """
    if settings.hireflix.webhook_secrets:
        return settings.hireflix.webhook_secrets[0].get_secret_value()
    if settings.hireflix.allow_unsigned:
        return None
    raise UsageError("no webhook secret is configured: run `connector serve` once, it creates one")


def post(url: str, body: bytes, secret: str | None, host: str | None = None) -> httpx.Response:
    """Posts a body, signed if there is a secret, with `host` as the Host header if one is given.

    Raises `ConnectorError` when the receiver does not respond.
    """
    try:
        # a proxy cannot reach the loopback address of this machine
        with httpx.Client(trust_env=not is_loopback(host_of(url)), timeout=TIMEOUT_SECONDS) as client:
            return client.post(
                url, content=body, headers=headers(body, secret) | ({} if host is None else {"host": host})
            )
    except httpx.ConnectError:
        raise ConnectorError(f"cannot connect to {url}; is `connector serve` running?") from None
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise ConnectorError(f"no response from {url}: {type(error).__name__}") from None


def headers(body: bytes, secret: str | None) -> dict[str, str]:
    """Returns the headers that Hireflix sends with a body."""
    signed = {} if secret is None else {HEADER.decode(): sign(secret, body)}
    return {"content-type": "application/json", **signed}


async def feed(
    url: str, secret: str, events: int, rate: float, happens: Callable[[bytes], bool] = lambda _: True
) -> Counter[str]:
    """Posts `events` webhooks, `rate` per second. Returns the numbers of `accepted`, `duplicate` and `refused`.

    A webhook for which `happens` returns `False` is left out. Raises `httpx.TransportError` when the service stops.
    """
    loop = asyncio.get_running_loop()
    begun = loop.time()
    responses: Counter[str] = Counter()
    async with httpx.AsyncClient(trust_env=False, timeout=TIMEOUT_SECONDS) as client:
        for number, body in enumerate(stream(events, now())):
            await asyncio.sleep(max(0.0, begun + number / rate - loop.time()))
            if not happens(body):
                continue
            response = await client.post(url, content=body, headers=headers(body, secret))
            responses[response.json()["status"] if response.is_success else "refused"] += 1
    return responses


async def all_delivered(settings: Config) -> None:
    """Returns when no delivery is pending or waits for a digest."""
    while await asyncio.to_thread(_unfinished, settings):  # noqa: ASYNC110 - the store is written by another component
        await asyncio.sleep(POLL_SECONDS)


def _unfinished(settings: Config) -> int:
    with reading(settings) as connection:
        return sum(sink.pending + sink.waiting + sink.planned for sink in sinks(connection, now(), None))
