"""`connector verify` compares, asks the lane for repairs, and returns by its exit code whether a sheet is in sync."""

from __future__ import annotations

import json

import pytest
from sqlalchemy import delete

from connector.config import load
from connector.emulators.google import GoogleEmulator
from connector.operations.store_access import changing, now_in
from connector.operations.verify import has_workers
from connector.store import processes
from connector.store.schema import bucket
from tests.cli.conftest import SQLITE
from tests.cli.world import NOON, ON_BOTH, SHEET_CONFIG, PostgresWorld, World, body

CONFIG = f"""{SHEET_CONFIG}
[sinks.chat]
type = "console"
"""


@pytest.fixture
def google():
    with GoogleEmulator() as emulator:
        yield emulator


@pytest.fixture
def sheet(google, config, tmp_path, store_url, run):
    """A spreadsheet, five interviews in the store, and nothing delivered yet."""
    google.service_account_file(tmp_path / "key.json")
    spreadsheet = google.add_spreadsheet()
    config.write_text(CONFIG.format(sheet=spreadsheet, url=google.url, store=store_url))
    run("migrate")
    world = World(tmp_path) if store_url == SQLITE else PostgresWorld(store_url)
    world.receive(*[body(number=number) for number in range(1, 6)])
    world.close()
    return spreadsheet


@pytest.fixture
def a_minute_later(config):
    """The quotas are full again."""

    def refill():
        with changing(load(config, {}, config.parent)) as store:
            store.change(lambda connection: connection.execute(delete(bucket)))

    return refill


@ON_BOTH
def test_a_repair_without_a_service_writes_what_is_missing_and_proves_it(run, sheet, google):
    result = run("verify", "sheet", "--repair")
    assert result.exit_code == 0, result.output
    assert "sheet: in sync" in result.output
    assert len(google.records(sheet, "Interviews")) == 5


@ON_BOTH
def test_a_sheet_that_is_not_in_sync_is_reported_with_exit_code_1_and_repaired_on_request(
    run, sheet, google, a_minute_later
):
    run("verify", "sheet", "--repair")
    person = google.person(sheet)
    place = google.header(sheet, "Interviews").index("Interview ID")
    person.edit("Interviews", 2, place, "zzz")
    person.edit("Interviews", 4, 0, "Corrected")
    a_minute_later()
    found = run("verify", "sheet", "--json")
    assert found.exit_code == 1
    document = json.loads(found.stdout)
    assert (document["in_sync"], document["counts"]) == (
        False,
        {"in sync": 3, "broken key": 1, "corrected by users": 1},
    )
    a_minute_later()
    repaired = run("verify", "sheet", "--repair", "--json")
    assert repaired.exit_code == 0, repaired.output
    assert json.loads(repaired.stdout)["counts"] == {"in sync": 4, "corrected by users": 1}


def test_the_result_is_shown_by_status(run, sheet):
    run("verify", "sheet", "--repair")
    assert "sheet: in sync as of" in run("status").output


def test_explain_distinguishes_cells_that_would_change_from_cells_of_users(run, sheet, google, tmp_path):
    run("verify", "sheet", "--repair")
    google.person(sheet).edit("Interviews", 1, google.header(sheet, "Interviews").index("Score"), 3)
    file = tmp_path / "event.json"
    file.write_bytes(body("interview.score-updated", 1, NOON + 60_000, score=4))
    shown = run("explain", str(file)).stdout
    assert "row 2 in the tab Interviews" in shown
    assert [line.strip("| ") for line in shown.splitlines() if "→" in line and "|" in line] == [
        "Score: 3 → 4",
        "Updated: 2026-08-01 12:00:00 → 2026-08-01 12:01:00",
    ]


def test_without_a_name_every_sheet_is_verified(run, sheet):
    run("verify", "sheet", "--repair")
    found = run("verify")
    assert (found.exit_code, found.stdout.splitlines()[0]) == (0, "sheet: in sync")
    [document] = json.loads(run("verify", "--json").stdout)
    assert (document["sink"], document["in_sync"]) == ("sheet", True)


def test_a_sheet_that_cannot_be_read_is_reported_among_all(run, sheet, google):
    google.person(sheet).unshare("connector@emulated-project.iam.gserviceaccount.com")
    found = run("verify")
    assert (found.exit_code, found.stdout.startswith("sheet: not verified: ")) == (1, True)
    [document] = json.loads(run("verify", "--json").stdout)
    assert (document["in_sync"], "share the sheet" in document["error"]) == (False, True)


def test_a_finding_names_its_place_and_what_to_do(run, sheet, google, a_minute_later):
    """Both rows of a double."""
    run("verify", "sheet", "--repair")
    person = google.person(sheet)
    place = google.header(sheet, "Interviews").index("Interview ID")
    person.edit("Interviews", 4, place, google.rows(sheet, "Interviews")[2][place])
    a_minute_later()
    shown = run("verify", "sheet").stdout
    assert "(Interviews, rows 3 and 5)" in shown
    assert "doubled: delete one of the rows in the sheet; the first one is kept up to date" in shown


def test_a_message_sink_has_nothing_to_verify(run, sheet):
    result = run("verify", "chat")
    assert result.exit_code == 2
    assert "cannot be verified" in result.output


@ON_BOTH
def test_a_sheet_that_cannot_be_read_says_why(run, sheet, google):
    google.person(sheet).unshare("connector@emulated-project.iam.gserviceaccount.com")
    result = run("verify", "sheet")
    assert result.exit_code == 1
    assert "share the sheet" in result.output


def test_an_unknown_sink_is_bad_usage(run, sheet):
    assert run("verify", "sheett").exit_code == 2


@pytest.mark.parametrize("store_url", ["postgres"], indirect=True)
@pytest.mark.parametrize(
    ("role", "silent", "helps"),
    [("worker", 0, True), ("all", 0, True), ("receiver", 0, False), ("worker", 60_000, False)],
)
def test_a_repair_is_left_to_workers_if_there_are_any(world, role, silent, helps):
    at = now_in(world.connection) - silent
    processes.beat(world.connection, processes.Process("there:1", role, at, at))
    assert has_workers(world.connection) is helps
