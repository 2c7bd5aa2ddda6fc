"""The webhook sink: posts each event as signed JSON (Standard Webhooks 1.0.0).

Signatures, headers, payload and the handling of status codes follow the specification
(https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md).
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import json
import re
import ssl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Annotated, Any

import httpx
from pydantic import AfterValidator, Field, SecretStr

from connector.capabilities import Notice, Preview
from connector.http import ResponseClass, classify, host_of, is_loopback, retry_after, safe_url, utc
from connector.sink import (
    Batch,
    Context,
    Delivered,
    Delivery,
    Event,
    Finding,
    Interview,
    Outcome,
    Result,
    RetryLater,
    Sink,
    SinkBroken,
    SinkConfig,
    Superseded,
    Value,
)
from connector.text import clean, web_link

NOTICE = "connector.notice"
"""The type of a message of the connector about itself."""
REPLY_BYTES = 8192
"""Bytes of a refusal that are read. The connector stores less."""
REPLY_SECONDS = 2.0
"""Longest wait for the bytes of a refusal."""
THROTTLED_SECONDS = 30.0
"""Delay after a 429 without `Retry-After`."""

_PLAIN_ID = re.compile(r"[A-Za-z0-9_-]{1,200}")

_HINTS = {
    401: "check url and secret",
    403: "check url and the destination's firewall",
    404: "check url",
    407: "set the proxy's credentials in HTTPS_PROXY",
}
"""What the operator can check when a status repeats."""

_OVERLOADED = frozenset({502, 503, 504})
"""The destination is unavailable, so other deliveries would fail too."""


def signing_key(secret: str) -> bytes:
    """Returns the key in `whsec_<base64>` (Standard Webhooks, Signature scheme). Raises `ValueError`."""
    hint = "must be whsec_ and the base64 of 24 to 64 random bytes, as `openssl rand -base64 32` makes them"
    if not secret.startswith("whsec_"):
        raise ValueError(hint)
    try:
        key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(hint) from None
    if not 24 <= len(key) <= 64:  # noqa: PLR2004 - the limits of the specification
        raise ValueError(hint)
    return key


def _checked_secret(secret: SecretStr) -> SecretStr:
    signing_key(secret.get_secret_value())
    return secret


def _checked_url(url: SecretStr) -> SecretStr:
    address = safe_url(url.get_secret_value())
    try:
        httpx.URL(address)
    except httpx.InvalidURL:
        raise ValueError("must be an address such as https://example.org/hook") from None
    return url


class WebhookConfig(SinkConfig):
    """Settings of a webhook."""

    url: Annotated[SecretStr, AfterValidator(_checked_url)] = Field(
        description="Where events are posted: https, or http on this machine. Counts as a secret."
    )
    secret: Annotated[SecretStr, AfterValidator(_checked_secret)] = Field(
        description="Signs every request: `whsec_` and the base64 of 24 to 64 random bytes."
    )
    previous_secret: Annotated[SecretStr, AfterValidator(_checked_secret)] | None = Field(
        default=None, description="Signs as well while the destination changes from this secret to `secret`."
    )
    timeout: float = Field(
        default=15, gt=0, le=30, description="Seconds that the destination may take for one request."
    )


class Webhook(Sink[WebhookConfig]):
    """Posts one event per request. `webhook-id` is the delivery id, so the destination can drop repeated attempts.

    Requests are sent one at a time, so the destination gets the events of an interview in the order of arrival.
    """

    Config = WebhookConfig
    counts_calls = True
    timeout = 60

    def __init__(self, name: str, config: WebhookConfig) -> None:
        super().__init__(name, config)
        self._url = config.url.get_secret_value()
        self._keys = [signing_key(secret.get_secret_value()) for secret in _secrets(config)]
        self._client: httpx.AsyncClient | None = None

    @property
    def destination(self) -> str:
        return f"{host_of(self._url)} {hashlib.sha256(self._url.encode()).hexdigest()[:12]}"

    async def open(self) -> None:
        self._client = httpx.AsyncClient(
            timeout=httpx.Timeout(self.config.timeout, connect=min(5.0, self.config.timeout)),
            follow_redirects=False,
            trust_env=not is_loopback(host_of(self._url)),
            headers={"Content-Type": "application/json", "User-Agent": "hireflix-connector"},
        )

    async def close(self) -> None:
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    async def deliver(self, batch: Batch, context: Context) -> Result:
        return Result([await self._send(delivery, context) for delivery in batch.deliveries])

    async def preview(self, batch: Batch, context: Context) -> Sequence[Preview]:  # noqa: ARG002 - nothing is sent
        return [Preview(f"POST to {host_of(self._url)}\n{_readable(delivery)}") for delivery in batch.deliveries]

    async def check_connection(self) -> list[Finding]:
        """Checks whether the host name resolves. Posts nothing, because the destination would store it as an event."""
        host = host_of(self._url)
        try:
            await asyncio.get_running_loop().getaddrinfo(host, None)
        except (OSError, UnicodeError):
            return [Finding("problem", f"{host} cannot be resolved", "check the host in `url`")]
        return [Finding("ok", f"{host} resolves; only the first event shows whether it accepts events")]

    async def _send(self, delivery: Delivery, context: Context) -> Outcome:
        if delivery.event is None:
            return Superseded("no event to forward")
        return await self._posted(delivery.id, payload(delivery, delivery.event), context)

    async def notify(self, notice: Notice, context: Context) -> Outcome:
        """Posts the notice like an event, with the type `connector.notice`."""
        return await self._posted(notice.id, notice_payload(notice, context.now()), context)

    async def _posted(self, message_id: str, content: Mapping[str, Any], context: Context) -> Outcome:
        body = json.dumps(content, separators=(",", ":")).encode()
        context.count_call("post")
        try:
            headers = signature_headers(self._keys, message_id, context.now(), body)
            response, reply = await self._post(body, headers)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            return _not_reached(error)
        except (httpx.TimeoutException, TimeoutError):
            return RetryLater("timeout", unclear=True)
        except httpx.TransportError:
            return RetryLater("connection lost", unclear=True)
        if not response.is_success:
            context.record_reply(response.status_code, reply)
        return read_answer(response.status_code, response.headers, context.now())

    async def _post(self, body: bytes, headers: dict[str, str]) -> tuple[httpx.Response, str]:
        """Returns the response, and the start of its body when the destination did not accept the event."""
        assert self._client is not None, "open() comes first"
        async with (
            asyncio.timeout(self.config.timeout) as limit,
            self._client.stream("POST", self._url, content=body, headers=headers) as response,
        ):
            limit.reschedule(None)  # the outcome is known
            return response, "" if response.is_success else await _start_of(response)


async def _start_of(response: httpx.Response) -> str:
    """Returns the start of a body, which may be endless or slow. A failure here does not change the outcome."""
    if "content-encoding" in response.headers:
        return ""  # a few compressed bytes may be gigabytes of text
    read = bytearray()
    with suppress(TimeoutError, httpx.HTTPError, httpx.StreamError):
        async with asyncio.timeout(REPLY_SECONDS):
            async for part in response.aiter_raw():
                read += part
                if len(read) >= REPLY_BYTES:
                    break
    return read[:REPLY_BYTES].decode(errors="replace")


def payload(delivery: Delivery, event: Event) -> dict[str, Any]:
    """Returns the body: `type`, `timestamp` and `data` (Standard Webhooks, Payload structure)."""
    return {
        "type": event.name,
        "timestamp": _timestamp(event.occurred_at),
        "data": {
            "delivery_id": delivery.id,
            "event": {
                "id": event.id,
                "name": event.name,
                "interview_id": event.interview_id,
                "occurred_at": event.occurred_at,
                "received_at": event.received_at,
                "fields": _cleaned(event.fields),
            },
            "interview": None if delivery.interview is None else _merged(delivery.interview),
        },
    }


def notice_payload(notice: Notice, now: int) -> dict[str, Any]:
    """Returns the body of a notice at `now` (epoch milliseconds)."""
    data = {"id": notice.id, "title": clean(notice.title), "lines": [clean(line) for line in notice.lines]}
    return {"type": NOTICE, "timestamp": _timestamp(now), "data": data}


def _timestamp(at_ms: int) -> str:
    return utc(at_ms).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _readable(delivery: Delivery) -> str:
    return "nothing" if delivery.event is None else json.dumps(payload(delivery, delivery.event), indent=2)


def _merged(interview: Interview) -> dict[str, Any]:
    return {
        "id": interview.id,
        "stage": interview.stage.value,
        "updated_at": interview.updated_at,
        "completed_at": interview.completed_at,
        "fields": _cleaned(interview.values),
    }


def _cleaned(fields: Mapping[str, Value]) -> dict[str, Value]:
    """Returns the fields with cleaned text and percent-encoded links, so that other programs can show them."""
    return {name: _cleaned_value(name, value) for name, value in fields.items()}


def _cleaned_value(name: str, value: Value) -> Value:
    if not isinstance(value, str):
        return value
    return (web_link(value) if name.endswith("_url") else None) or clean(value)


def signature_headers(keys: Sequence[bytes], delivery_id: str, now: int, body: bytes) -> dict[str, str]:
    """Returns the headers, with one signature per key (Standard Webhooks, Webhook headers). `now` is in epoch ms."""
    message_id, seconds = _message_id(delivery_id), now // 1000
    content = f"{message_id}.{seconds}.".encode() + body
    signatures = [base64.b64encode(hmac.digest(key, content, "sha256")).decode() for key in keys]
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(seconds),
        "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
    }


def _message_id(delivery_id: str) -> str:
    # The signed content is separated by full stops, so the id must not contain one; it is also a header value.
    if _PLAIN_ID.fullmatch(delivery_id):
        return delivery_id
    return f"msg_{hashlib.sha256(delivery_id.encode()).hexdigest()[:32]}"


def read_answer(status: int, headers: httpx.Headers, now: int) -> Outcome:
    """Returns the outcome of a delivery by the status of the response. `now` is epoch milliseconds.

    Only a 2xx is a success. Every other status is retried until the retry window ends, after the delay of
    `Retry-After` if there is one. Redirects are not followed. Raises `SinkBroken` for 410, which means that the
    destination does not accept events any more (Standard Webhooks, Delivery success and failure).
    """
    if status == httpx.codes.GONE:
        raise SinkBroken(
            "the destination accepts no more events (status 410)",
            "set `url` to an address that accepts events, or remove this sink",
        )
    after = retry_after(headers, now)
    match classify(status):
        case ResponseClass.OK:
            return Delivered()
        case ResponseClass.THROTTLED:
            after = THROTTLED_SECONDS if after is None else after
            return RetryLater(f"status {status}", after=after, counts=False, pause_sink=True)
        case ResponseClass.UNCLEAR if not httpx.codes.is_redirect(status):
            return RetryLater(f"status {status}", after=after, unclear=True, pause_sink=status in _OVERLOADED)
        case _:
            return RetryLater(_refusal(status), after=after)


def _refusal(status: int) -> str:
    """Returns the reason for a status that means: not applied. Adds what the operator can check, if it is known."""
    redirect = "redirects are not followed, set url to the new address" if httpx.codes.is_redirect(status) else ""
    hint = redirect or _HINTS.get(status, "")
    return f"status {status}: {hint}" if hint else f"status {status}"


def _not_reached(error: httpx.TransportError) -> Outcome:
    if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in _causes(error)):
        raise SinkBroken(
            "the destination's certificate is not trusted",
            "renew or complete its certificate, or set SSL_CERT_FILE to the file of your certificate authority",
        ) from None
    return RetryLater("not reachable", pause_sink=True)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _secrets(config: WebhookConfig) -> Iterator[SecretStr]:
    yield config.secret
    if config.previous_secret is not None:
        yield config.previous_secret
