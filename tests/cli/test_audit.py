"""The audit log: every operation that changes something writes who asked for it, in the transaction of the change."""

import getpass
import json
from hashlib import sha256

import pytest

from connector.emulators.google import GoogleEmulator
from connector.registry import load_sink_class
from connector.store.schema import DeliveryState, audit
from tests.cli.world import ON_BOTH, SHEET_CONFIG, body


@pytest.fixture
def filled(world):
    """Two dead letters of the chat."""
    world.receive(body(number=1), body(number=2))
    world.settle_all()
    world.settle(DeliveryState.DEAD, *world.ids("chat"), reason="gone")
    return world


def logged(world):
    return [(row.action, row.target, row.detail) for row in world.rows(audit)]


@ON_BOTH
def test_a_pause_and_a_resume_are_logged(run, world):
    assert run("pause", "chat").exit_code == 0
    assert run("resume", "chat").exit_code == 0
    assert logged(world) == [("pause", "chat", ""), ("resume", "chat", "")]


def test_the_choice_of_a_resume_is_logged(run, world, monkeypatch):
    monkeypatch.setattr(load_sink_class("workbook"), "resume_modes", frozenset({"accept"}))
    assert run("resume", "sheet", "--accept").exit_code == 0
    assert logged(world) == [("resume", "sheet", "accept")]


def test_the_actor_of_a_command_is_the_user_of_the_operating_system(run, world, monkeypatch):
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    assert run("pause", "chat", LOGNAME="someone-else").exit_code == 0
    assert [row.actor for row in world.rows(audit)] == [f"cli:{getpass.getuser()}"]


@ON_BOTH
def test_a_replay_is_logged_once_with_its_selection(run, filled):
    assert run("replay", "--sink", "chat", "--yes").exit_code == 0
    assert logged(filled) == [("replay", "sink=chat state=dead", "2 deliveries")]


def test_a_replay_of_events_is_logged(run, world):
    world.keep("unknown", body("interview.moved"), 7)
    assert run("replay", "--state", "unknown", "--yes").exit_code == 0
    assert logged(world) == [("replay", "kind=unknown", "1 events")]


@ON_BOTH
def test_a_dismissal_is_logged_without_the_reason_which_may_name_a_person(run, filled):
    assert run("dismiss", "--interview", "interview-1", "--reason", "Ada withdrew", "--yes").exit_code == 0
    assert logged(filled) == [("dismiss", "interview=interview-1", "1 dead letters")]


def test_a_repair_is_logged(run, world, config, tmp_path):
    with GoogleEmulator() as google:
        google.service_account_file(tmp_path / "key.json")
        config.write_text(
            SHEET_CONFIG.format(store="sqlite:///connector.db", sheet=google.add_spreadsheet(), url=google.url)
        )
        world.receive(body())
        assert run("verify", "sheet", "--repair").exit_code == 0
    assert logged(world) == [("repair", "sheet", "")]


@ON_BOTH
def test_an_erase_is_logged_by_the_hash_of_the_interview(run, world):
    world.receive(body())
    assert run("erase", "interview-1", "--yes").exit_code == 0
    assert logged(world) == [("erase", sha256(b"interview-1").hexdigest(), "1 events")]


def test_what_was_refused_is_not_logged(run, world):
    assert run("resume", "chat", "--accept").exit_code == 2
    assert run("dismiss", "--sink", "chat", "--reason", "nothing is dead", "--yes").exit_code == 0
    assert logged(world) == []


def test_the_newest_change_is_listed_first(run, json_of, world):
    run("pause", "chat")
    run("pause", "sheet")
    rows = json_of("audit")
    assert [row["target"] for row in rows] == ["sheet", "chat"]
    assert list(rows[0]) == ["id", "at", "actor", "action", "target", "detail"]
    assert json_of("audit", "--since", "1d", "--limit", "1") == rows[:1]
    assert json_of("audit", "--until", "1d") == []
    assert "pause" in run("audit").stdout


def test_an_empty_log_says_so(run, world):
    assert run("audit").stdout == "No changes by operators found.\n"
    assert json.loads(run("audit", "--json").stdout) == []
