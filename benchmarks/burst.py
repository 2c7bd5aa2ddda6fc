"""Burst: many new interviews at once into one sheet, with Google's quotas and a realistic delay per call."""

from __future__ import annotations

import asyncio
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import gspread
import msgspec
import requests
from google.auth.transport.requests import AuthorizedSession
from google.oauth2.service_account import Credentials
from requests.adapters import HTTPAdapter

from benchmarks import processes, tables
from benchmarks.bodies import Webhook, stream
from benchmarks.posting import post_all
from benchmarks.processes import Running
from benchmarks.usual_script import UsualScript
from connector.emulators.google import GoogleEmulator
from connector.emulators.slack.server import SlackEmulator

TAB = "Interviews"
LATENCY = 0.15
"""Seconds per call of the emulated Google, as usual for a sheet of ordinary size."""
WITHIN = 300.0
GOOGLE = "https://sheets.googleapis.com"
SCOPES = ["https://www.googleapis.com/auth/spreadsheets"]


@dataclass(slots=True)
class Outcome:
    """The result of a burst; times in seconds from the first webhook."""

    posted: float = 0.0
    first_row: float = 0.0
    last_row: float = 0.0
    calls: dict[str, int] = field(default_factory=dict)


async def run(*, quick: bool = False) -> None:
    """Measures both and prints the ratio."""
    count, rounds, patience = (200, 1, 2.0) if quick else (5_000, 3, 120.0)
    outcomes = []
    with tempfile.TemporaryDirectory(prefix="burst-") as folder:
        for index in range(rounds):
            tables.progress(f"burst of {count}, round {index + 1} of {rounds}")
            async with rig(Path(folder) / str(index)) as (emulator, sheet, running):
                outcomes.append(await burst(emulator, sheet, running, count))
        tables.progress(f"the usual script, stopped after {patience:.0f} s")
        script = await asyncio.to_thread(_run_script, Path(folder), patience, count)
    _show(count, outcomes, script)


@asynccontextmanager
async def rig(folder: Path, more: str = "") -> AsyncIterator[tuple[GoogleEmulator, str, Running]]:
    """The emulated Google with its quotas, an empty spreadsheet's id, and a service that keeps it. `more` is TOML."""
    with GoogleEmulator() as emulator:
        emulator.quotas.enabled = True
        emulator.latency = LATENCY
        sheet = emulator.add_spreadsheet()
        async with processes.service(folder, sheet_config(emulator, sheet, folder) + more) as running:
            yield emulator, sheet, running


def sheet_config(emulator: GoogleEmulator, sheet: str, folder: Path) -> str:
    """Returns the configuration of a sink for this spreadsheet. Writes its key file into the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    emulator.service_account_file(folder / "service-account.json")
    return (
        f'[sinks.sheet]\ntype = "google_sheets"\nspreadsheet = "{sheet}"\nworksheet = "{TAB}"\n'
        f'credentials_file = "service-account.json"\napi_url = "{emulator.url}"\n'
    )


async def burst(emulator: GoogleEmulator, sheet: str, running: Running, count: int) -> Outcome:
    """Sends `count` new interviews at once and waits for the last row. Raises unless every row exists exactly once."""
    webhooks = list(islice(stream(updates=False), count))
    outcome = Outcome()
    before = row_count(emulator, sheet)
    emulator.forget_calls()
    started = time.monotonic()
    posting = asyncio.create_task(post_all(running.url, webhooks, clients=32))
    posting.add_done_callback(lambda _: setattr(outcome, "posted", time.monotonic() - started))
    while (rows := row_count(emulator, sheet) - before) < count:
        if time.monotonic() - started > WITHIN:
            raise RuntimeError(f"after {WITHIN:.0f} s only {rows} of {count} rows are there")
        if rows and not outcome.first_row:
            outcome.first_row = time.monotonic() - started
        await asyncio.sleep(0.02)
    outcome.last_row = time.monotonic() - started
    outcome.first_row = outcome.first_row or outcome.last_row
    await posting
    await _delivered(running)
    outcome.calls = dict(emulator.counts)
    _verify(emulator, sheet, webhooks)
    return outcome


def row_count(emulator: GoogleEmulator, sheet: str) -> int:
    """Returns the number of rows below the header, 0 without a tab."""
    with emulator.lock:
        tab = emulator.book(sheet).titled(TAB)
        return 0 if tab is None else max(0, sum(1 for row in tab.rows if row) - 1)


async def _delivered(running: Running) -> None:
    """Waits until the service has settled every row, which may take another call."""
    until = time.monotonic() + WITHIN
    connection = running.store()
    try:
        while connection.execute("SELECT count(*) FROM delivery WHERE state = 0 AND purpose <> 'verify'").fetchone()[0]:
            if time.monotonic() > until:
                raise RuntimeError("deliveries are still pending")
            await asyncio.sleep(0.05)
    finally:
        connection.close()


def _verify(emulator: GoogleEmulator, sheet: str, webhooks: Sequence[Webhook]) -> None:
    ids = [str(record["Interview ID"]) for record in emulator.records(sheet, TAB)]
    if len(ids) != len(set(ids)) or not {webhook.interview_id for webhook in webhooks} <= set(ids):
        raise RuntimeError(f"the sheet has {len(ids)} rows, {len(set(ids))} different, for {len(webhooks)} interviews")


@dataclass(slots=True)
class ScriptOutcome:
    """The result of the simple script until it was stopped."""

    done: int
    seconds: float
    calls: int
    refused: int
    silent: int


class _ToEmulator(HTTPAdapter):
    """Redirects requests for Google to the emulator."""

    def __init__(self, base: str) -> None:
        super().__init__()
        self._base = base

    def send(self, request: requests.PreparedRequest, *args, **kwargs) -> requests.Response:
        request.url = str(request.url).replace(GOOGLE, self._base, 1)
        return super().send(request, *args, **kwargs)


def _run_script(folder: Path, patience: float, count: int) -> ScriptOutcome:
    """Calls the script for one webhook after the other in a thread, and measures it after `patience` seconds."""
    with GoogleEmulator() as google, SlackEmulator() as slack:
        slack.limits = True
        google.latency = LATENCY
        script = _script(google, slack, folder)
        google.quotas.enabled = True
        google.forget_calls()
        posted: list[bool] = []
        stop = threading.Event()
        work = threading.Thread(target=_feed, args=(script, count, posted, stop), daemon=True)
        started = time.monotonic()
        work.start()
        work.join(patience)
        seconds = time.monotonic() - started
        stop.set()
        with google.lock:
            refused = sum(1 for record in google.calls if record.status == 429)
            calls = google.counts["read"] + google.counts["write"]
        return ScriptOutcome(len(posted), seconds, calls, refused, posted.count(False))


def _script(google: GoogleEmulator, slack: SlackEmulator, folder: Path) -> UsualScript:
    account = google.service_account_file(folder / "service-account.json")
    credentials = Credentials.from_service_account_file(str(account), scopes=SCOPES)
    session = AuthorizedSession(credentials)
    session.mount(GOOGLE, _ToEmulator(google.url))
    client = gspread.Client(credentials, session=session, http_client=gspread.BackOffHTTPClient)
    return UsualScript(client, google.add_spreadsheet(), slack.add_webhook(slack.add_channel("recruiting")))


def _feed(script: UsualScript, count: int, posted: list[bool], stop: threading.Event) -> None:
    for webhook in islice(stream(updates=False), count):
        try:
            posted.append(script.handle(msgspec.json.decode(webhook.body)))
        except requests.RequestException:
            if not stop.is_set():
                raise
            return


def _show(count: int, outcomes: Sequence[Outcome], script: ScriptOutcome) -> None:
    calls = [sum(number for kind, number in each.calls.items() if kind != "token") for each in outcomes]
    done = [each.last_row for each in outcomes]
    extrapolated = script.seconds / max(1, script.done) * count
    script_calls = script.calls / max(1, script.done) * count
    rows = [
        ("service", tables.span(done), tables.span(calls), "measured"),
        ("usual script", tables.number(extrapolated), tables.number(script_calls), "extrapolated"),
        ("ratio", f"{extrapolated / sorted(done)[len(done) // 2]:,.0f}", f"{script_calls / max(calls):,.0f}", ""),
    ]
    first = outcomes[-1]
    tables.show(
        f"Burst: {count:,} new interviews to one sheet, Google's quotas, {LATENCY * 1000:.0f} ms per call "
        f"({len(outcomes)} rounds)",
        ("", "seconds to the last row", "Sheets calls", ""),
        rows,
        f"service, last round: all acknowledged after {first.posted:.1f} s, first rows after {first.first_row:.1f} s, "
        f"calls {first.calls}",
        f"usual script: stopped after {script.seconds:.0f} s with {script.done} interviews done, {script.calls} calls, "
        f"{script.refused} of them refused by the quota; {script.silent} messages lost to the chat's limit",
    )
