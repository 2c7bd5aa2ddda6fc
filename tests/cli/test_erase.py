"""`connector erase` removes the person from the store and the destinations, and later events restore nothing."""

from __future__ import annotations

import json
import shutil
import sqlite3
import stat
from contextlib import closing

import pytest
from sqlalchemy import insert

from connector.emulators.faults import Fault, FaultKind
from connector.emulators.google import GoogleEmulator
from connector.emulators.slack import SlackEmulator
from connector.routing import Route
from connector.store.erase import erased_among
from connector.store.schema import DeliveryState, attempt, delivery, event, interview, note
from tests.cli.conftest import SQLITE
from tests.cli.world import ON_BOTH, SHEET_CONFIG, PostgresWorld, World, body

PHONE = "+34600123456"
PERSON = {"candidate": {"name": "Ada Erasable", "email": "ada.erasable@example.com", "phone": PHONE}}
NEEDLES = (b"Erasable", b"ada.erasable@example.com", PHONE.encode())


def found_in(folder):
    """The names of files below a folder that hold the person's data."""
    files = (file for file in folder.rglob("*") if file.is_file())
    return {file.name for file in files if any(needle in file.read_bytes() for needle in NEEDLES)}


def test_after_an_erase_no_file_of_the_store_holds_the_person_and_others_stay(run, world, tmp_path):
    world.receive(body(number=1, **PERSON), body(number=2))
    world.keep("unreadable", json.dumps({"event": "", "who": PERSON}).encode(), 90)
    world.close()
    assert "connector.db" in found_in(tmp_path)
    result = run("erase", "interview-1", "--yes")
    assert result.exit_code == 0, result.output
    assert found_in(tmp_path) == set()
    assert "Candidate 2" in run("interviews").output


@ON_BOTH
def test_an_erased_event_keeps_its_identity_and_the_interview_a_tombstone(run, world):
    world.receive(body(number=1, **PERSON))
    assert run("erase", "--email", "ADA.erasable@example.com", "--yes").exit_code == 0
    assert [row.body for row in world.rows(event)] == [None]
    assert world.rows(interview) == []
    assert erased_among(world.connection, ["interview-1", "interview-2"]) == {"interview-1"}


def test_the_row_in_a_workbook_and_the_notes_about_it_are_gone(run, world, tmp_path):
    world.receive(body(number=1, **PERSON), body(number=2))
    assert run("erase", "interview-2", "--yes").exit_code == 0
    assert run("erase", "interview-1", "--yes").exit_code == 0
    assert [row.key for row in world.rows(note) if "interview-" in row.key] == []
    assert "sheet.xlsx" not in found_in(tmp_path)


def test_without_a_terminal_and_without_yes_nothing_is_erased(run, world):
    world.receive(body(number=1, **PERSON))
    result = run("erase", "interview-1")
    assert result.exit_code == 2
    assert "--yes" in result.output
    assert len(world.rows(interview)) == 1


def test_an_unknown_interview_is_a_usage_error(run, world):
    assert run("erase", "interview-9", "--yes").exit_code == 2


def test_the_receipt_names_each_destination_and_what_is_out_of_reach_and_no_person(run, world):
    world.receive(body(number=1, **PERSON))
    result = run("erase", "interview-1", "--yes", "--json")
    receipt = json.loads(result.stdout)
    assert receipt["complete"]
    assert {each["sink"]: each["result"] for each in receipt["destinations"]}["sheet"] in {"erased", "nothing there"}
    assert any("backups" in each for each in receipt["out_of_reach"])
    assert not any(needle.decode() in result.stdout for needle in NEEDLES)


@pytest.fixture
def backup(run, world, tmp_path):
    """A backup with two persons, of whom one is erased in the store."""
    world.receive(body(number=1, **PERSON), body(number=2))
    world.close()
    file = tmp_path / "backup.db"
    assert run("store", "backup", str(file)).exit_code == 0
    assert run("erase", "interview-1", "--yes").exit_code == 0
    return file


def test_a_restore_erases_again_the_persons_who_were_erased_since_the_backup(run, backup, tmp_path):
    result = run("store", "restore", str(backup))
    assert "1 interview erased since the backup: erased again" in result.stdout
    assert found_in(tmp_path) == {"backup.db"}
    assert "Candidate 2" in run("interviews").output


def test_a_store_that_was_replaced_by_hand_is_erased_again_when_it_is_opened(run, backup, tmp_path):
    shutil.copy(backup, tmp_path / "connector.db")
    assert "connector.db" in found_in(tmp_path)
    assert run("erase", "interview-2", "--yes").exit_code == 0
    assert found_in(tmp_path) == {"backup.db"}


def test_a_log_that_another_program_reads_is_a_problem_in_the_receipt(run, world, tmp_path, monkeypatch):
    """The person is erased, and the old pages are in the log until the command is run again."""
    monkeypatch.setattr("connector.operations.erase.COMPACT_SECONDS", 0.2)
    world.receive(body(number=1, **PERSON))
    with closing(sqlite3.connect(world.file, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM event").fetchone()
        result = run("erase", "interview-1", "--yes", "--json")
    receipt = json.loads(result.stdout)
    assert (result.exit_code, receipt["complete"]) == (1, False)
    assert receipt["problems"] == [
        "the log of the store could not be emptied while another program reads it, it may hold deleted values"
    ]
    assert run("erase", "interview-1", "--yes").exit_code == 0
    assert found_in(tmp_path) == set()


def test_only_the_owner_can_read_the_file_of_tombstones(backup, tmp_path):
    assert stat.S_IMODE((tmp_path / "connector.db.erased").stat().st_mode) == 0o600


def test_the_receipt_names_copies_of_the_store_and_sinks_that_are_no_longer_configured(run, world, backup, tmp_path):
    assert run("store", "restore", str(backup)).exit_code == 0
    config_file = tmp_path / "config.toml"
    kept, _, _ = config_file.read_text().partition("[sinks.graduates]")
    config_file.write_text(f'{kept}[store]\nurl = "{SQLITE}"\n')
    receipt = json.loads(run("erase", "interview-2", "--yes", "--json").stdout)
    (copy,) = tmp_path.glob("connector.db.before-restore-*")
    assert f"{copy}: a copy of the store; delete it" in receipt["out_of_reach"]
    assert "graduates: a sink that is no longer configured" in receipt["out_of_reach"]


@ON_BOTH
def test_several_interviews_are_erased_at_once(run, world):
    world.receive(body(number=1, **PERSON), body(number=2), body(number=3))
    assert run("erase", "interview-1", "interview-2", "--yes").exit_code == 0
    assert [row.id for row in world.rows(interview)] == ["interview-3"]


@ON_BOTH
def test_answers_and_reasons_about_the_person_are_deleted_and_reasons_about_others_stay(run, world):
    world.receive(body(number=1, **PERSON), body(number=2))
    mine = [row.id for row in world.rows(delivery, sink="chat", interview_id="interview-1")]
    world.settle(DeliveryState.DEAD, *mine, batch="b-7")
    world.try_once("chat", batch="b-7", reason="refused", answer="Ada Erasable is too long")
    world.try_once("chat", batch="b-8", reason="refused: Ada Erasable")
    world.try_once("chat", batch="b-9", reason="http 503")
    assert run("erase", "interview-1", "--yes").exit_code == 0
    assert [(row.reason, row.answer) for row in world.rows(attempt)] == [("", None), ("", None), ("http 503", None)]


def test_a_sink_that_is_down_keeps_its_part_and_a_second_erase_continues(run, config, tmp_path):
    """The receipt says that it waits and why, and `deliveries` shows it."""
    with GoogleEmulator() as google:
        google.service_account_file(tmp_path / "key.json")
        spreadsheet = google.add_spreadsheet()
        config.write_text(SHEET_CONFIG.format(sheet=spreadsheet, url=google.url, store=SQLITE))
        made = World(tmp_path)
        made.receive(body(number=1, **PERSON))
        made.close()
        assert run("verify", "sheet", "--repair").exit_code == 0
        google.faults.add(Fault(FaultKind.STATUS, times=1000))
        result = run("erase", "interview-1", "--yes", "--wait", "2")
        assert result.exit_code == 1
        assert "sheet, interview-1: waiting (" in result.output
        assert "run `connector erase interview-1` again" in result.output
        assert "follow-up: erase" in run("deliveries", "--state", "pending").output
        google.faults.clear()
        again = run("erase", "interview-1", "--yes", "--json")
        assert again.exit_code == 0, again.output
        assert [each["result"] for each in json.loads(again.stdout)["destinations"]] == ["erased"]
        assert not any(needle.decode() in str(google.rows(spreadsheet, "Interviews")) for needle in NEEDLES)
    assert found_in(tmp_path) == set()


@ON_BOTH
def test_an_operator_can_dismiss_the_part_of_a_destination_that_failed(run, world):
    world.receive(body(number=1, **PERSON))
    dead = {"interview_id": "interview-1", "key": "interview-1", "purpose": "erase", "priority": 0, "since": 0}
    world.connection.execute(insert(delivery).values(sink="sheet", **dead, state=3, reason="refused"))
    assert run("dismiss", "--interview", "interview-1", "--reason", "removed by hand", "--yes").exit_code == 0
    receipt = json.loads(run("erase", "interview-1", "--yes", "--json").stdout)
    results = {each["sink"]: (each["result"], each["detail"]) for each in receipt["destinations"]}
    assert results["sheet"] == ("dismissed", "removed by hand (failed with: refused)")
    assert receipt["complete"]


@ON_BOTH
def test_the_cells_of_a_google_sheet_are_cleared(run, config, tmp_path, store_url):
    with GoogleEmulator() as google:
        google.service_account_file(tmp_path / "key.json")
        spreadsheet = google.add_spreadsheet()
        config.write_text(SHEET_CONFIG.format(sheet=spreadsheet, url=google.url, store=store_url))
        run("migrate")
        made = World(tmp_path) if store_url == SQLITE else PostgresWorld(store_url)
        made.receive(body(number=1, **PERSON), body(number=2))
        made.close()
        assert run("verify", "sheet", "--repair").exit_code == 0
        assert "Ada Erasable" in str(google.records(spreadsheet, "Interviews"))
        result = run("erase", "interview-1", "--yes")
        assert result.exit_code == 0, result.output
        left = str(google.records(spreadsheet, "Interviews"))
        assert not any(needle.decode() in left for needle in NEEDLES)
        assert "Candidate 2" in left
        if store_url == SQLITE:
            assert found_in(tmp_path) == set()


CHANNELS = """
[store]
url = "sqlite:///connector.db"

[hireflix]
webhook_secrets = ["hush-hush"]

[sinks.bot]
type = "slack"
token = "{slack.token}"
channel = "{channel}"
api_url = "{slack.api_url}"

[sinks.hook]
type = "slack"
webhook_url = "{hook}"
"""


def test_the_receipt_says_that_messages_of_an_incoming_webhook_stay(run, config, tmp_path):
    """A webhook cannot change what it posted, so an operator has to delete it; a bot can."""
    with SlackEmulator() as slack:
        channel = slack.add_channel("hiring")
        config.write_text(CHANNELS.format(slack=slack, channel=channel, hook=slack.add_webhook(channel)))
        made = World(tmp_path, sinks={"bot": False, "hook": False}, routes=[Route(("bot", "hook"))])
        made.receive(body(number=1, **PERSON))
        made.close()
        result = run("erase", "interview-1", "--yes", "--json")
        assert result.exit_code == 0, result.output
    results = {each["sink"]: (each["result"], each["detail"]) for each in json.loads(result.stdout)["destinations"]}
    assert results["bot"] == ("nothing there", "no message to erase")
    assert results["hook"] == ("not possible", "the sink cannot change what it has sent: remove it at the destination")
