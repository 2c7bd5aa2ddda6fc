"""A service with an API key fills an empty sheet from Hireflix, also after a kill, and finds missed changes."""

from __future__ import annotations

import json
import random
import time

import httpx
import pytest

from connector.emulators.faults import HANG
from connector.emulators.google import EMAIL, GoogleEmulator
from connector.emulators.hireflix import Account, HireflixEmulator
from connector.hireflix.signature import sign
from tests.flows.process import SECRET, Service

INTERVIEWS = 300
HOUR_MS = 3_600_000
WORDS = {
    "pending": "Invited",
    "to_evaluate": "To evaluate",
    "shortlisted": "Shortlisted",
    "discarded": "Discarded",
}
CONFIG = """
[sinks.sheet]
type = "google_sheets"
spreadsheet = "{sheet}"
credentials_file = "key.json"
api_url = "{google}"
calls_per_minute = 600
"""


def now():
    return time.time_ns() // 1_000_000


def fill(account):
    """Interviews of the last weeks in three positions, in all stages."""
    rng = random.Random(3)
    positions = [account.add_position(name) for name in ("Baker", "Cook", "Graduate Program")]
    for number in range(INTERVIEWS):
        at = account.now() - (number + 1) * HOUR_MS
        found, _ = account.invite(rng.choice(positions), f"Ana {number}", at=at)
        if number % 2:
            account.complete(found, at=at + 60_000)
            account.rate(found, rng.choice((2.5, 4, 5)), at=at + 120_000)
        if number % 4 == 1:
            account.shortlist(found, at=at + 180_000)
        elif number % 8 == 3:
            account.discard(found, at=at + 180_000)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("backfill")
    account = Account(now)
    fill(account)
    with GoogleEmulator() as google, HireflixEmulator(account) as hireflix:
        google.service_account_file(folder / "key.json")
        sheet = google.add_spreadsheet(editors=[EMAIL])
        service = Service(
            folder,
            CONFIG.format(sheet=sheet, google=google.url),
            CONNECTOR_HIREFLIX__API_KEY=hireflix.key,
            CONNECTOR_HIREFLIX__API_URL=hireflix.api_url,
        )
        yield service, account, hireflix, google, sheet
        if service.process is not None and service.process.poll() is None:
            service.stop()


def shown(google, sheet):
    """Interview id -> (stage, score) of each row."""
    header, *rows = google.rows(sheet, "Interviews")
    columns = [header.index(title) for title in ("Interview ID", "Stage", "Score")]
    return {row[columns[0]]: (row[columns[1]], row[columns[2]] or None) for row in rows}


def rows_in_hireflix(account):
    return {id_: (WORDS[found.stage], found.score) for id_, found in account.interviews.items()}


def added(service):
    return service.query("SELECT count(*) FROM event WHERE identity LIKE 'api:%'")[0][0]


@pytest.fixture(scope="module")
def filled(world):
    """The service was killed in the middle of its first backfill, and started again.

    Hireflix does not answer while it is killed, so that the backfill cannot end first.
    """
    service, _, hireflix, *_ = world
    hireflix.faults.choose(lambda _: HANG if added(service) > INTERVIEWS // 4 else None)
    service.start()
    service.until(lambda: added(service) > INTERVIEWS // 4)
    service.kill()
    killed_at = added(service)
    hireflix.faults.choose(None)
    hireflix.faults.release()
    service.start()
    service.until(lambda: 'finished_at":1' in str(service.query("SELECT value FROM meta WHERE key = 'backfill'")))
    service.settled()
    return killed_at


def test_a_kill_interrupts_the_backfill(filled):
    assert filled < INTERVIEWS


def test_every_row_is_correct_after_the_kill(world, filled):
    _, account, _, google, sheet = world
    assert shown(google, sheet) == rows_in_hireflix(account)


def test_a_second_backfill_by_command_changes_nothing(world, filled):
    service, *_ = world
    done = service.run("backfill", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"read": INTERVIEWS, "added": 0}


def test_one_reconcile_repairs_withheld_webhooks_and_deletions(world, filled):
    service, account, _, google, sheet = world
    rng = random.Random(5)
    bodies = []
    for found in rng.sample(sorted(account.interviews.values(), key=lambda each: each.id), 80):
        steps = (account.complete, account.shortlist, lambda each: account.rate(each, 3), account.delete)
        bodies.append(rng.choices(steps, weights=(4, 3, 3, 1))[0](found))
    with httpx.Client(trust_env=False) as client:
        for body in bodies:
            if rng.random() >= 0.1:
                client.post(service.hook, content=body, headers={"x-hireflix-signature": sign(SECRET, body)})
    before = added(service)

    done = service.run("reconcile", "--json")

    service.settled()
    assert done.returncode == 0, done.stderr
    assert added(service) > before
    rows = shown(google, sheet)
    assert {id_: row for id_, row in rows.items() if row[0] != "Deleted"} == rows_in_hireflix(account)


def test_the_proof_counts_the_interviews_of_hireflix_and_the_rows(world, filled):
    service, account, *_ = world
    done = service.run("reconcile", "--quick")
    number = len(account.interviews)
    assert done.stdout.splitlines() == [
        "no difference between Hireflix and the store",
        f"{number} interviews in Hireflix = {number} rows in sheet",
    ]
