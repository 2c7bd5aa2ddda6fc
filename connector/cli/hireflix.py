"""`connector hireflix webhook`, `doctor`, `decide`, `decisions` and `record`."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import msgspec
import typer
from litestar import Litestar, Response, route
from litestar import Request as HttpRequest
from sqlalchemy import Connection

from connector import logging
from connector.app import open_event_store
from connector.cli import FAILED
from connector.cli import options as o
from connector.cli.output import print_hint, safe, show_json, show_table
from connector.config import Config, load
from connector.decision import Decision, DecisionRequest, Via
from connector.errors import UsageError
from connector.formats import format_time
from connector.hireflix import EVENT_NAMES
from connector.hireflix.api import HireflixError
from connector.hireflix.webhook_api import LogEntry, NotFoundInSchema, Webhook, WebhookApi
from connector.operations import hireflix_record as recording
from connector.operations.decide import answer
from connector.operations.decision_worker import decide_for_command
from connector.operations.hireflix_doctor import DoctorFinding, diagnose, explain_signature, our_webhook, steps
from connector.operations.source import open_api_for_user
from connector.operations.source_tasks import record_webhook
from connector.operations.store_access import changing, now_in, reading, store_exists
from connector.role import Secrets
from connector.store.decisions import StoredRequest, for_operators
from connector.web.server import base_address, bind, serve_http, signals

UrlOption = Annotated[
    str | None, typer.Option("--url", metavar="URL", help="Public address of the webhook, with its path.")
]
MARKS = {"ok": "ok", "problem": "PROBLEM", "unknown": "unknown"}

hireflix = typer.Typer(add_completion=False, no_args_is_help=True, rich_markup_mode=None)


@hireflix.callback()
def _hireflix() -> None:
    """Use the API of Hireflix: the webhook, why nothing arrives, and decisions."""


@hireflix.command()
def webhook(
    *,
    config: o.ConfigOption = None,
    create: Annotated[
        str | None, typer.Option("--create", metavar="URL", help="Create a webhook to this address, with all events.")
    ] = None,
    activate: Annotated[
        bool, typer.Option("--activate", help="Switch the webhook on, with all events and --url if given.")
    ] = False,
    url: UrlOption = None,
    secret: Annotated[
        bool, typer.Option("--secret", help="Print the variable with the key of the signatures.")
    ] = False,
    log: Annotated[bool, typer.Option("--log", help="List the requests that Hireflix logged.")] = False,
    as_json: o.JsonOption = False,
) -> None:
    """Show, create or activate the webhook by the API of Hireflix.

    Where the API has no operation for it, prints the steps in the dashboard of Hireflix.
    """
    settings = load(config, needs=Secrets.NONE)
    logging.set_up(settings.logs.format, "warning")
    if create is not None and activate:
        raise UsageError("give --create or --activate, not both")
    try:
        asyncio.run(_webhook(settings, create, url, activate=activate, secret=secret, log=log, as_json=as_json))
    except NotFoundInSchema as error:
        print_hint(f"{error}; do it by hand:")
        print_hint(steps(settings, create or url))
        raise typer.Exit(FAILED) from None


async def _webhook(
    settings: Config, create: str | None, url: str | None, *, activate: bool, secret: bool, log: bool, as_json: bool
) -> None:
    async with open_api_for_user(settings) as api:
        hooks = await WebhookApi.discover(api)
        if create is not None:
            await _create(settings, hooks, create)
        if activate:
            found = _required(await hooks.webhooks(), url, settings.hireflix.webhook_path)
            changed = found._replace(active=True, events=tuple(sorted(EVENT_NAMES)), url=url or found.url)
            await hooks.update(changed)
            record_webhook(settings, o.actor(), changed.url, "activated")
        if secret:
            print(f"CONNECTOR_HIREFLIX__WEBHOOK_SECRETS='[{_quoted(await hooks.secret())}]'")
        elif log:
            found = _required(await hooks.webhooks(), url, settings.hireflix.webhook_path)
            _show_log(settings, await hooks.log(found), as_json=as_json)
        else:
            _show(await hooks.webhooks(), as_json=as_json)


async def _create(settings: Config, hooks: WebhookApi, url: str) -> None:
    """Creates the webhook unless there is one with this address, so that a repeated command does no harm."""
    if not url.endswith(settings.hireflix.webhook_path):
        raise UsageError(f"the address must end with {settings.hireflix.webhook_path}, the path of the receiver")
    if any(each.url == url for each in await hooks.webhooks()):
        raise UsageError("a webhook with this address exists already; switch it on with --activate")
    await hooks.create(url)
    record_webhook(settings, o.actor(), url, "created")


def _required(known: list[Webhook], url: str | None, path: str) -> Webhook:
    """Returns our webhook. A new address given with `--url` belongs to the webhook with the path of the receiver."""
    found = our_webhook(known, url, path) or our_webhook(known, None, path)
    if found is None:
        raise UsageError(f"no webhook in Hireflix has the path {path}; create one with --create URL")
    return found


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _show(known: list[Webhook], *, as_json: bool) -> None:
    if as_json:
        show_json([each._asdict() | {"missing_events": each.missing_events} for each in known])
        return
    rows = [
        {
            "ID": each.id,
            "ADDRESS": each.url,
            "ACTIVE": "yes" if each.active else "NO",
            "EVENTS": "all" if not each.missing_events else f"without {', '.join(each.missing_events)}",
        }
        for each in known
    ]
    show_table(rows, empty="no webhook in Hireflix; create one with --create URL")


def _show_log(settings: Config, entries: list[LogEntry], *, as_json: bool) -> None:
    if as_json:
        show_json([{"at": each.at, "status": each.status, "response": each.response} for each in entries])
        return
    zone = ZoneInfo(settings.timezone)
    rows = [{"TIME": format_time(each.at, zone), "STATUS": each.status, "RESPONSE": each.response} for each in entries]
    show_table(rows, empty="Hireflix logged no request")


@hireflix.command()
def doctor(
    *,
    config: o.ConfigOption = None,
    url: UrlOption = None,
    body: Annotated[
        str | None,
        typer.Option("--body", metavar="FILE", help="Only check the signature of this body; - is standard input."),
    ] = None,
    signature: Annotated[
        str | None, typer.Option("--signature", metavar="S", help="The header x-hireflix-signature of that body.")
    ] = None,
    as_json: o.JsonOption = False,
) -> None:
    """Find out why webhooks do not arrive, and what to do.

    Checks the API key, the webhook in Hireflix, its events and key, the requests that Hireflix logged, the public
    address and what the receiver refused. Exits with 1 when there is a problem.
    """
    settings = load(config, needs=Secrets.SOURCE)
    logging.set_up(settings.logs.format, "warning")
    if (body is None) is not (signature is None):
        raise UsageError("give --body and --signature together")
    if body is not None and signature is not None:
        findings = explain_signature(settings, o.read_body(body), signature)
    else:
        with reading(settings) if store_exists(settings) else nullcontext() as stored:
            findings = asyncio.run(diagnose(settings, url, stored))
    if as_json:
        show_json([{"level": each.level, "what": each.what, "fix": each.fix} for each in findings])
    else:
        for each in findings:
            _show_finding(each)
    if any(each.level == "problem" for each in findings):
        raise typer.Exit(FAILED)


def _show_finding(finding: DoctorFinding) -> None:
    print(safe(f"{MARKS[finding.level]:<8} {finding.what}"))
    if finding.fix:
        print(safe(f"         → {finding.fix}", keep="\n"))


@hireflix.command()
def decide(
    interview: Annotated[str, typer.Argument(metavar="INTERVIEW", help="Id of the interview.")],
    decision: Annotated[Decision, typer.Argument(help="What to do.")],
    value: Annotated[
        str | None,
        typer.Argument(
            metavar="VALUE", help="A score or none, a comment, the reason of a discard, the days of a share."
        ),
    ] = None,
    *,
    repeat: Annotated[
        bool, typer.Option("--repeat", help="Send a comment although the same text is there already.")
    ] = False,
    config: o.ConfigOption = None,
    as_json: o.JsonOption = False,
) -> None:
    """Shortlist, discard, score, comment or share an interview.

    A repeated command changes nothing, and what Hireflix shows already is not sent. While Hireflix is unavailable the
    decision is kept, and the service tries it again for a day. Everyone who has the link of a share can watch the
    interview.
    """
    settings = load(config, needs=Secrets.NONE)
    logging.set_up(settings.logs.format, "warning")
    request = DecisionRequest(
        key=f"command:{secrets.token_hex(16)}",
        interview_id=interview,
        decision=decision,
        value=value,
        repeat=repeat,
        actor=o.actor(),
        via=Via.COMMAND,
    )
    result = asyncio.run(decide_for_command(settings, open_event_store, request))
    if as_json:
        show_json({name: value for name, value in msgspec.structs.asdict(result).items() if name != "v"})
        return
    shown = [each for each in (result.stage, f"score {result.score:g}" if result.score else "", result.link) if each]
    print(safe(f"{'done' if result.changed else 'nothing to do'}{': ' if shown else ''}{', '.join(shown)}"))


@hireflix.command()
def decisions(
    *,
    do: Annotated[list[int] | None, typer.Option("--do", metavar="ID", help="Carry out this decision.")] = None,
    drop: Annotated[list[int] | None, typer.Option("--drop", metavar="ID", help="Drop this decision.")] = None,
    config: o.ConfigOption = None,
    as_json: o.JsonOption = False,
) -> None:
    """List and answer the decisions that wait for an operator.

    These are large changes in a sheet, and decisions that may or may not have reached Hireflix. The service sends what
    is carried out. --do and --drop can be repeated.
    """
    wanted = {True: list(dict.fromkeys(do or ())), False: list(dict.fromkeys(drop or ()))}
    if set(wanted[True]) & set(wanted[False]):
        raise UsageError("a decision is named with --do and with --drop; choose one of them")
    settings = load(config, needs=Secrets.NONE)
    if wanted[True] or wanted[False]:
        _answer(settings, wanted)
        return
    with reading(settings) as connection:
        found = for_operators(connection, o.MANY)
    if as_json:
        show_json([_open_decision(each) for each in found])
        return
    zone = ZoneInfo(settings.timezone)
    rows = [
        {
            "ID": each.id,
            "INTERVIEW": each.interview_id,
            "DECISION": each.shown,
            "STATE": each.state,
            "BY": f"{each.actor} ({each.via})",
            "SINCE": format_time(each.requested_at, zone),
            "REASON": each.reason,
        }
        for each in found
    ]
    show_table(rows, empty="no decision waits for an operator")


def _answer(settings: Config, wanted: Mapping[bool, Sequence[int]]) -> None:
    """Carries out or drops decisions. Raises `UsageError`, and changes nothing, when one does not wait any more."""

    def change(connection: Connection) -> None:
        for do, ids in wanted.items():
            answered = answer(connection, ids, do=do, actor=o.actor(), now=now_in(connection))
            missing = sorted(set(ids) - {each.id for each in answered})
            if missing:
                named = ", ".join(map(str, missing))
                raise UsageError(
                    f"no decision with the id {named} waits for an operator, so nothing is changed; "
                    "`connector hireflix decisions` lists those that do"
                )

    with changing(settings) as store:
        store.change(change)
    for do, ids in wanted.items():
        if ids:
            how = "the service carries it out" if do else "dropped"
            print("\n".join(f"decision {id_}: {how}" for id_ in ids))


def _open_decision(stored: StoredRequest) -> dict[str, Any]:
    return {
        "id": stored.id,
        "interview": stored.interview_id,
        "decision": stored.shown,
        "state": stored.state,
        "actor": stored.actor,
        "via": stored.via,
        "since": stored.requested_at,
        "reason": stored.reason,
    }


@hireflix.command()
def record(
    config: o.ConfigOption = None,
    folder: Annotated[Path, typer.Option("--folder", metavar="DIR", help="Where requests are stored.")] = Path(
        "hireflix-record"
    ),
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port to listen on; 0 = any free one.")] = 8000,
    failures: Annotated[
        int, typer.Option("--failures", min=0, help="Answer the first requests with 500, to see whether they repeat.")
    ] = 0,
) -> None:
    """Record what Hireflix sends to a trial account.

    At the end it prints what is learned from the requests. It stores each request as a file, and the schema of the API
    if there is an API key. It delivers nothing.
    """
    settings = load(config, needs=Secrets.NONE)
    logging.set_up(settings.logs.format, "warning")
    recorder = recording.Recorder(folder, failures)
    asyncio.run(_record(settings, recorder, port))
    secrets = [each.get_secret_value() for each in settings.hireflix.webhook_secrets]
    for line in recording.learned(recorder.records, secrets):
        print(safe(line))


async def _record(settings: Config, recorder: recording.Recorder, port: int) -> None:
    """Serves until a signal."""
    if settings.hireflix.api_key is not None:
        with suppress(HireflixError):  # the requests can be recorded without it
            async with open_api_for_user(settings) as api:
                print(f"schema of the API: {await recording.save_schema(api, recorder.folder)}")

    @route(settings.hireflix.webhook_path, http_method=["POST"])
    async def receive(request: HttpRequest[Any, Any, Any]) -> Response[str]:
        body = await request.body()
        status = recorder.take(dict(request.headers), body, time.time_ns() // 1_000_000)
        print(f"{len(recorder.records)} recorded, answered {status}", flush=True)
        return Response("recorded\n", status_code=status, media_type="text/plain")

    stop, force = asyncio.Event(), asyncio.Event()
    listener = bind(settings.server.host, port)
    url = base_address(listener) + settings.hireflix.webhook_path
    print(recording.STEPS.format(url=f"the public address of {url}", folder=recorder.folder), flush=True)
    with signals(stop, force):
        await serve_http(
            Litestar([receive], openapi_config=None),
            listener,
            stop=stop,
            force=force,
            grace_seconds=1.0,
            trusted_proxies=settings.server.trusted_proxies,
        )
