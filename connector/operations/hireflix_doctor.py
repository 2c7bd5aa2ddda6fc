"""Finds out why webhooks do not arrive: checks the API key, and address, secret and log of the webhook in Hireflix."""

from __future__ import annotations

import hmac
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import httpx
import msgspec
from sqlalchemy import Connection

from connector.config import Config
from connector.hireflix import GREETING
from connector.hireflix.api import HireflixApi, HireflixError
from connector.hireflix.signature import HEADER, sign
from connector.hireflix.webhook_api import LogEntry, NotFoundInSchema, Webhook, WebhookApi, dashboard_steps
from connector.http import host_of, is_loopback
from connector.operations.source import open_api_for_user
from connector.operations.status import REFUSAL_FIXES
from connector.operations.store_access import now_in
from connector.store.status import source as source_status

TIMEOUT_SECONDS = 10.0
"""Longest wait for the public address."""
DEFAULT_ADDRESS = "https://YOUR-HOST"
"""Shown in the steps when no address is known."""

Level = Literal["ok", "problem", "unknown"]


@dataclass(frozen=True, slots=True)
class DoctorFinding:
    """One thing that was checked: what was found, and what to do. `unknown`: it could not be checked."""

    level: Level
    what: str
    fix: str = ""


class _Signed(msgspec.Struct, frozen=True):
    """A request that has a body and a signature, from the log of Hireflix or a file."""

    body: str
    signature: str
    is_refused: bool


async def diagnose(settings: Config, url: str | None, stored: Connection | None) -> list[DoctorFinding]:
    """Returns what was found, in the order of the path of a webhook.

    `url` is the public address, if the webhook in Hireflix is not to be used. `stored` is the store, if there is one.
    """
    findings: list[DoctorFinding] = []
    webhook: Webhook | None = None
    async with open_api_for_user(settings) as api:
        try:
            positions = await api.positions()
            findings.append(DoctorFinding("ok", f"the API key works; Hireflix has {len(positions)} positions"))
            webhook = await _webhook(settings, api, url, findings)
        except HireflixError as error:
            findings.append(DoctorFinding("problem", "the API cannot be used", str(error)))
    address = url or (webhook.url if webhook is not None else None)
    findings.append(await _address(address, settings.hireflix.webhook_path))
    findings += _received(stored)
    return findings


async def _webhook(
    settings: Config, api: HireflixApi, url: str | None, findings: list[DoctorFinding]
) -> Webhook | None:
    """Adds what is found about the webhook, its secret and its log. Returns the webhook."""
    hooks = await WebhookApi.discover(api)
    try:
        known = await hooks.webhooks()
    except NotFoundInSchema as error:
        findings.append(DoctorFinding("unknown", str(error), f"check it yourself: {steps(settings, url)}"))
        return None
    webhook = our_webhook(known, url, settings.hireflix.webhook_path)
    if webhook is None:
        fix = f"run `connector hireflix webhook --create {url or DEFAULT_ADDRESS + settings.hireflix.webhook_path}`"
        findings.append(DoctorFinding("problem", "no webhook in Hireflix has the path of this service", fix))
        return None
    findings += _switches(webhook)
    findings.append(await _secret(settings, hooks))
    findings += await _log(settings, hooks, webhook)
    return webhook


def our_webhook(known: Sequence[Webhook], url: str | None, path: str) -> Webhook | None:
    """Returns the webhook with the address, else the one with the path of the receiver."""
    mine = [each for each in known if each.url == url or (url is None and each.url.rstrip("/").endswith(path))]
    return next((each for each in mine if each.active), mine[0] if mine else None)


def steps(settings: Config, url: str | None) -> str:
    """Returns the steps in the dashboard of Hireflix."""
    return dashboard_steps(url or DEFAULT_ADDRESS + settings.hireflix.webhook_path)


def _switches(webhook: Webhook) -> Iterator[DoctorFinding]:
    activate = "run `connector hireflix webhook --activate`, or change it under Profile, Webhooks"
    if webhook.active:
        yield DoctorFinding("ok", f"the webhook to {webhook.url} is active")
    else:
        yield DoctorFinding("problem", f"the webhook to {webhook.url} is not active", activate)
    if webhook.missing_events:
        yield DoctorFinding("problem", f"the webhook does not send {', '.join(webhook.missing_events)}", activate)
    else:
        yield DoctorFinding("ok", "the webhook sends all five events")


async def _secret(settings: Config, hooks: WebhookApi) -> DoctorFinding:
    """Compares the key of Hireflix with the configured secrets. Shows neither."""
    try:
        theirs = await hooks.secret()
    except HireflixError as error:
        return DoctorFinding("unknown", str(error), "press Reveal key under Profile, Webhooks, and compare it")
    ours = [secret.get_secret_value() for secret in settings.hireflix.webhook_secrets]
    if any(hmac.compare_digest(theirs.encode(), secret.encode()) for secret in ours):
        return DoctorFinding("ok", "the key of Hireflix is one of webhook_secrets")
    if any(hmac.compare_digest(theirs.strip().encode(), secret.strip(" \"'").encode()) for secret in ours):
        return DoctorFinding("problem", "webhook_secrets has the key with blanks or quotes around it", "remove them")
    return DoctorFinding(
        "problem",
        "the key of Hireflix is none of webhook_secrets, so every webhook is refused",
        "run `connector hireflix webhook --secret`, and set CONNECTOR_HIREFLIX__WEBHOOK_SECRETS to what it prints",
    )


async def _log(settings: Config, hooks: WebhookApi, webhook: Webhook) -> list[DoctorFinding]:
    try:
        entries = await hooks.log(webhook)
    except HireflixError as error:
        return [DoctorFinding("unknown", str(error), "look at the log of the webhook under Profile, Webhooks")]
    if not entries:
        return [DoctorFinding("ok", "the log of the webhook is empty: nothing has happened, or it was never active")]
    counts = Counter(_outcome(entry) for entry in entries)
    said = ", ".join(f"{count} {outcome}" for outcome, count in counts.most_common())
    is_failing = _is_refused(entries[0])
    level: Level = "problem" if is_failing else "ok"
    fix = "the last one failed; the other findings say why" if is_failing else ""
    found = [DoctorFinding(level, f"the last {len(entries)} requests as Hireflix logged them: {said}", fix)]
    signed = [each for entry in entries if (each := _signed(entry)) is not None]
    return [*found, *_signatures(signed, [each.get_secret_value() for each in settings.hireflix.webhook_secrets])]


def explain_signature(settings: Config, body: bytes, signature: str) -> list[DoctorFinding]:
    """Returns why the signature of a refused body, as a proxy or another receiver logged it, does not match."""
    secrets = [each.get_secret_value() for each in settings.hireflix.webhook_secrets]
    if not secrets:
        return [DoctorFinding("problem", "webhook_secrets is empty", "set CONNECTOR_HIREFLIX__WEBHOOK_SECRETS")]
    signed = _Signed(body.decode("utf-8", "replace"), signature.strip(), is_refused=False)
    return list(_signatures([signed], secrets))


def _outcome(entry: LogEntry) -> str:
    code = _find(entry.response, {"status", "statuscode", "code"})
    return f"{entry.status} ({code})" if isinstance(code, int | str) and str(code) != entry.status else entry.status


def _is_refused(entry: LogEntry) -> bool:
    code = _find(entry.response, {"status", "statuscode", "code"})
    return str(code).isdigit() and not 200 <= int(str(code)) < 300  # noqa: PLR2004 - RFC 9110, successful


def _signed(entry: LogEntry) -> _Signed | None:
    request = _decoded(entry.request)
    signature = _find(request, {HEADER.decode(), "signature"})
    body = _find(request, {"body", "payload", "data"})
    if not isinstance(signature, str) or body is None:
        return None
    return _Signed(body if isinstance(body, str) else json.dumps(body), signature, _is_refused(entry))


def _signatures(signed: Sequence[_Signed], secrets: Sequence[str]) -> Iterator[DoctorFinding]:
    """Returns which form of the body the signature of the newest signed request belongs to."""
    if not signed or not secrets:
        return
    newest = next((each for each in signed if each.is_refused), signed[0])
    form = next((name for name, body in _forms(newest.body) if _matches(newest.signature, body, secrets)), None)
    if form is None:
        what = "no form of the body has its signature: the key differs, or it was changed since"
        yield DoctorFinding("problem", what, "compare the key under Profile, Webhooks, Reveal key")
    elif form != "raw":
        what = f"Hireflix signed the body {form}, not these bytes"
        yield DoctorFinding(
            "problem", what, "something between Hireflix and this service changes the body: check the proxies"
        )
    elif newest.is_refused:
        what = "Hireflix signed the logged body correctly, and the request was refused"
        yield DoctorFinding(
            "problem", what, "a proxy changes the body or removes x-hireflix-signature: check the proxies"
        )
    else:
        yield DoctorFinding("ok", "the signature of the body is right")


def _forms(body: str) -> Iterator[tuple[str, bytes]]:
    """Yields the forms of a body in which it may have been signed."""
    yield "raw", body.encode()
    yield "without the blanks around it", body.strip().encode()
    try:
        document = json.loads(body)
    except ValueError:
        return
    yield "written as compact JSON", json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()
    yield "written as compact ASCII JSON", json.dumps(document, separators=(",", ":")).encode()
    yield "written as JSON with blanks", json.dumps(document, ensure_ascii=False).encode()


def _matches(signature: str, body: bytes, secrets: Sequence[str]) -> bool:
    return any(hmac.compare_digest(sign(secret, body), signature) for secret in secrets)


def _decoded(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return msgspec.json.decode(value)
    except msgspec.DecodeError:
        return value


def _find(value: Any, names: set[str]) -> Any:
    """Returns the first value with one of these keys, at any depth; the shape of the log is unknown."""
    if not isinstance(value, dict):
        return None
    for key, inner in value.items():
        if str(key).lower() in names and inner is not None:
            return inner
    for inner in value.values():
        found = _find(inner, names)
        if found is not None:
            return found
    return None


async def _address(url: str | None, path: str) -> DoctorFinding:
    """Opens the public address as a browser does."""
    if url is None:
        return DoctorFinding("unknown", "the public address is unknown", f"give it: --url {DEFAULT_ADDRESS}{path}")
    fix = "check the proxy or tunnel, the DNS name and the firewall (docs/hireflix.md)"
    try:
        # a proxy cannot reach the loopback address of this machine
        async with httpx.AsyncClient(timeout=TIMEOUT_SECONDS, trust_env=not is_loopback(host_of(url))) as client:
            response = await client.get(url)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return DoctorFinding("problem", f"{url} cannot be reached from here ({type(error).__name__})", fix)
    if response.is_success and response.content == GREETING:
        return DoctorFinding("ok", f"{url} reaches this service, or another connector")
    what = f"{url} answers {response.status_code}, but not as this service does"
    return DoctorFinding("problem", what, f"the path must be {path}; {fix}")


def _received(stored: Connection | None) -> Iterator[DoctorFinding]:
    """Adds findings about the requests that the receiver refused in the last day."""
    if stored is None:
        yield DoctorFinding("unknown", "the store does not exist yet", "run `connector serve`")
        return
    found = source_status(stored, now_in(stored))
    refused = [each for each in found.refused if each.reason in REFUSAL_FIXES]
    for each in refused:
        yield DoctorFinding("problem", f"the receiver refused requests: {each.reason}", REFUSAL_FIXES[each.reason])
    if not refused:
        yield DoctorFinding("ok", "the receiver refused no request of Hireflix within a day")
