"""`connector backfill` and `connector reconcile` without a running service, and what they say when they cannot work."""

from __future__ import annotations

import pytest
from openpyxl import load_workbook

from connector.emulators.faults import Fault, FaultKind
from connector.emulators.hireflix import Account, HireflixEmulator
from connector.store.schema import audit, event, interview
from connector.store.sqlite.database import StoreLock
from tests.cli.world import NOON


@pytest.fixture
def account():
    account = Account(lambda: NOON)
    for name in ("Baker", "Cook"):
        position = account.add_position(name)
        for number in range(12):
            account.invite(position, f"Ana {number}", at=NOON - number * 1000)
    return account


@pytest.fixture
def hireflix(account):
    with HireflixEmulator(account) as emulator:
        yield emulator


@pytest.fixture
def source(run, hireflix, world):
    """Runs a command with an API key."""
    key = {"CONNECTOR_HIREFLIX__API_KEY": hireflix.key, "CONNECTOR_HIREFLIX__API_URL": hireflix.api_url}
    return lambda *words, **environ: run(*words, **{**key, **environ})


@pytest.mark.parametrize("command", ["backfill", "reconcile"])
def test_without_an_api_key_the_setting_is_named(run, world, command):
    result = run(command)
    assert result.exit_code == 2
    assert "CONNECTOR_HIREFLIX__API_KEY" in result.stderr


def test_a_wrong_key_fails_and_is_not_printed(source):
    result = source("backfill", CONNECTOR_HIREFLIX__API_KEY="a-wrong-key")
    assert result.exit_code == 1
    assert "refuses the API key" in result.stderr
    assert "a-wrong-key" not in result.output


def test_check_online_asks_hireflix_with_the_key(source):
    assert "hireflix: the API key works; 2 positions" in source("check", "--online").stdout


def test_check_online_says_what_to_do_about_a_wrong_key(source):
    result = source("check", "--online", CONNECTOR_HIREFLIX__API_KEY="a-wrong-key")
    assert result.exit_code == 1
    assert "CONNECTOR_HIREFLIX__API_KEY" in result.stdout


def test_check_online_asks_twice_and_says_what_to_check_when_nothing_answers(source, hireflix):
    asked = []
    hireflix.faults.choose(lambda kind: asked.append(kind) or Fault(FaultKind.STATUS))
    result = source("check", "--online")
    assert result.exit_code == 1
    assert "check the network, the proxy and hireflix.api_url" in result.stdout
    assert len(asked) == 2


def test_a_backfill_counts_what_it_read(source):
    assert "24 interviews read, 24 events added" in source("backfill").stdout


def test_a_position_is_selected_by_its_name(source):
    assert "12 interviews read" in source("backfill", "--position", "bak*").stdout


def test_a_reconcile_before_the_first_backfill_is_refused(source):
    result = source("reconcile")
    assert result.exit_code == 2
    assert "connector backfill" in result.stderr


def test_a_reconcile_before_the_first_backfill_is_bad_usage_also_beside_a_service(source, world, json_of):
    """So that the status and the alerts do not report a failure of the API."""
    with StoreLock(world.file):
        result = source("reconcile")
    assert result.exit_code == 2
    assert "connector backfill" in result.stderr
    assert "api_failed" not in {each["kind"] for each in json_of("status")["troubles"]}


def test_a_selected_backfill_does_not_count_as_the_first(source):
    source("backfill", "--position", "Baker")
    assert source("reconcile").exit_code == 2


def test_many_deletions_wait_for_accept(source, account):
    source("backfill")
    account.delete_position(next(iter(account.positions.values())))

    held = source("reconcile")
    assert held.exit_code == 1
    assert "connector reconcile --accept" in held.stdout

    assert "12  deletion differed" in source("reconcile", "--accept").stdout


def test_events_of_a_backfill_are_marked_in_the_list(source, run):
    source("backfill")
    assert "backfill" in run("events", "--limit", "1").stdout


def test_explain_shows_that_a_backfill_goes_to_sheets_only(source, run):
    source("backfill")
    said = run("explain", "1").stdout
    assert "goes to state sinks only" in said
    assert "sheet" in said.split("Routes")[-1]


def test_a_service_that_does_not_answer_is_named(source, world, monkeypatch):
    """A service without an API key, or of an older version, holds the store."""
    monkeypatch.setattr("connector.operations.source_tasks.TAKEN_SECONDS", 0.0)
    with StoreLock(world.file):
        result = source("backfill")
    assert result.exit_code == 1
    assert "does not take this request" in result.stderr


def test_backfills_and_reconciles_are_in_the_audit_log(source, world):
    source("backfill")
    source("backfill", "--position", "Baker")
    source("reconcile", "--accept")
    assert [(row.action, row.target, row.detail) for row in world.rows(audit)] == [
        ("backfill", "all positions", ""),
        ("backfill", "position=Baker", ""),
        ("reconcile", "all positions", "accept"),
    ]


def test_a_backfill_that_the_service_is_asked_for_is_in_the_audit_log(source, world, monkeypatch):
    monkeypatch.setattr("connector.operations.source_tasks.TAKEN_SECONDS", 0.0)
    with StoreLock(world.file):
        source("backfill")
    assert [(row.action, row.target) for row in world.rows(audit)] == [("backfill", "all positions")]


def test_neither_a_backfill_nor_a_reconcile_brings_an_erased_person_back(source, run, world):
    source("backfill")
    erased = world.rows(interview)[0].id
    assert run("erase", erased, "--yes").exit_code == 0
    assert "0 events added" in source("backfill").stdout
    assert "no difference between Hireflix and the store" in source("reconcile").stdout
    assert len(world.rows(interview)) == 23
    assert [row.body for row in world.rows(event, interview_id=erased)] == [None]


def test_the_proof_does_not_count_rows_that_users_deleted(source, run, tmp_path):
    source("backfill")
    assert run("verify", "sheet", "--repair").exit_code == 0
    file = tmp_path / "sheet.xlsx"
    book = load_workbook(file)
    book["Interviews"].delete_rows(2, 3)
    book.save(file)

    result = source("reconcile")

    assert result.stdout.splitlines()[-1] == "24 interviews in Hireflix = 21 rows in sheet and 3 that users deleted"
