"""Backfill: 20,000 interviews of an emulated Hireflix into an empty emulated sheet, with three kills."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

from benchmarks import tables
from connector.emulators.google import EMAIL, GoogleEmulator
from connector.emulators.hireflix import Account, HireflixEmulator

ROOT = Path(__file__).resolve().parents[1]
POSITIONS = 20
INTERVIEWS = 20_000
KILLS = 3
LATENCY_SECONDS = 0.15
"""Per call of the emulated Google, as in `burst`."""
HOUR_MS = 3_600_000
WITHIN_SECONDS = 900.0
CONFIG = """
[hireflix]
webhook_secrets = ["benchmark"]
[server]
port = 0
[sinks.sheet]
type = "google_sheets"
spreadsheet = "{sheet}"
credentials_file = "key.json"
api_url = "{google}"
"""


async def run(*, quick: bool = False) -> None:
    """Starts the service, kills it during the backfill, and counts calls until every row is right."""
    interviews = 400 if quick else INTERVIEWS
    account = Account(lambda: time.time_ns() // 1_000_000)
    _fill(account, interviews)
    with tempfile.TemporaryDirectory(prefix="backfill-") as name, GoogleEmulator() as google:
        google.latency = LATENCY_SECONDS
        with HireflixEmulator(account) as hireflix:
            folder = Path(name)
            google.service_account_file(folder / "key.json")
            sheet = google.add_spreadsheet(editors=[EMAIL])
            (folder / "config.toml").write_text(CONFIG.format(sheet=sheet, google=google.url))
            environ = {
                "CONNECTOR_HIREFLIX__API_KEY": hireflix.key,
                "CONNECTOR_HIREFLIX__API_URL": hireflix.api_url,
            }
            begun = time.monotonic()
            for kill in range(KILLS):
                await _run_until(folder, environ, interviews * (kill + 1) // (KILLS + 1), kill=True)
            read = await _run_until(folder, environ, interviews, kill=False)
            seconds = time.monotonic() - begun
            right = _right_rows(google, sheet, account)
            calls, pages = len(google.calls), hireflix.calls["List"]
    tables.show(
        f"Backfill of {interviews:,} interviews in {POSITIONS} positions, {KILLS} kills",
        ["figure", "value"],
        [
            ["rows that are right", f"{right:,}"],
            ["seconds until all are stored", tables.number(read - begun)],
            ["seconds until all are in the sheet", tables.number(seconds)],
            ["calls to Google", calls],
            ["pages read from Hireflix", pages],
        ],
    )


def _fill(account: Account, interviews: int) -> None:
    positions = [account.add_position(f"Position {number}") for number in range(POSITIONS)]
    for number in range(interviews):
        at = account.now() - (number + 1) * HOUR_MS
        found, _ = account.invite(positions[number % POSITIONS], f"Ana {number}", at=at)
        if number % 2:
            account.complete(found, at=at + 1000)
        if number % 4 == 1:
            account.shortlist(found, at=at + 2000)


async def _run_until(folder: Path, environ: dict[str, str], events: int, *, kill: bool) -> float:
    """Runs the service until that many events are stored, and without `kill` until nothing is pending.

    Returns the time at which the events were stored, by the monotonic clock.
    """
    words = [sys.executable, "-m", "connector.cli", "serve", "--config", str(folder / "config.toml")]
    quiet = asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(
        *words, cwd=ROOT, env={**os.environ, **environ}, stdout=quiet, stderr=quiet
    )
    end = time.monotonic() + WITHIN_SECONDS
    try:
        await _until(folder, f"SELECT count(*) >= {events} FROM event", end)
        stored = time.monotonic()
        if not kill:
            await _until(folder, "SELECT count(*) = 0 FROM delivery WHERE state = 0 AND purpose <> 'verify'", end)
    finally:
        process.send_signal(signal.SIGKILL if kill else signal.SIGTERM)
        await process.wait()
    return stored


async def _until(folder: Path, sql: str, end: float) -> None:
    path = folder / "data" / "connector.db"
    while not await asyncio.to_thread(_is_true, path, sql):
        if time.monotonic() > end:
            raise TimeoutError(f"not within {WITHIN_SECONDS:.0f} s: {sql}")
        await asyncio.sleep(0.1)


def _is_true(path: Path, sql: str) -> bool:
    if not path.exists():
        return False
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)) as connection:
        try:
            return bool(connection.execute(sql).fetchone()[0])
        except sqlite3.OperationalError:  # the schema is being created
            return False


def _right_rows(google: GoogleEmulator, sheet: str, account: Account) -> int:
    words = {"pending": "Invited", "to_evaluate": "To evaluate", "shortlisted": "Shortlisted"}
    header, *rows = google.rows(sheet, "Interviews")
    id_, stage = header.index("Interview ID"), header.index("Stage")
    shown = {row[id_]: row[stage] for row in rows}
    return sum(shown.get(each.id) == words[each.stage] for each in account.interviews.values())
