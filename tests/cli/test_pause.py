"""`pause` and `resume`: what they write, and what they refuse."""

import json
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.operations.sinks import end_of_pause
from connector.registry import load_sink_class
from connector.store import leases
from connector.store.schema import audit, note, sink
from tests.cli.world import ON_BOTH, body

ZONES = ("UTC", "Europe/Madrid", "America/Caracas", "Asia/Kathmandu")


def row(world, name):
    return world.rows(sink, name=name)[0]


@ON_BOTH
def test_a_paused_sink_says_who_paused_it(run, world):
    result = run("pause", "chat")
    assert result.exit_code == 0
    assert "connector resume chat" in result.stdout
    assert (row(world, "chat").paused, row(world, "sheet").paused) == ("person", None)


@ON_BOTH
def test_a_pause_until_a_time_is_in_the_status_and_the_audit_log(run, world):
    result = run("pause", "chat", "--until", "2100-01-01T08:00")
    assert result.stdout == "chat is paused until 2100-01-01 08:00:00 UTC; its deliveries stay queued\n"
    assert "paused until 2100-01-01 08:00:00" in run("status").stdout
    (change,) = world.rows(audit)
    assert (change.action, change.detail) == ("pause", "until 2100-01-01 08:00:00 UTC")


@pytest.mark.parametrize("until", ["2001-01-01T08:00", "soon", "25:00"])
def test_a_time_that_is_over_or_unreadable_pauses_nothing(run, world, until):
    result = run("pause", "chat", "--until", until)
    assert result.exit_code == 2
    assert row(world, "chat").paused is None


@given(st.integers(0, 4_000_000_000_000), st.integers(0, 23), st.integers(0, 59), st.sampled_from(ZONES))
def test_a_time_of_day_is_the_next_one_in_the_zone(now, hour, minute, zone):
    at = end_of_pause(f"{hour}:{minute:02}", now, ZoneInfo(zone))
    assert now < at <= now + 25 * 3_600_000


@given(st.integers(0, 4_000_000_000_000), st.integers(1, 999))
def test_a_duration_counts_from_now(now, count):
    assert end_of_pause(f"{count}h", now, ZoneInfo("UTC")) == now + count * 3_600_000


@ON_BOTH
def test_a_resumed_sink_continues_at_once(run, world):
    """Neither the reason nor a rest is left, also after a pause by an operator."""
    world.receive(body())
    broken = leases.Pause("until_person", "rows vanished", "resume it", probe_at=5)
    leases.pause(world.connection, "sheet", broken)
    world.connection.exec_driver_sql("UPDATE sink SET rest_until = 99")
    result = run("resume", "sheet")
    assert result.stdout == "sheet is resumed; pending: 1 delivery\n"
    found = row(world, "sheet")
    assert (found.paused, found.reason, found.fix, found.probe_at, found.rest_until) == (None, None, None, None, 0)


@ON_BOTH
def test_a_sink_that_never_ran_can_be_paused(run, world):
    """So that it does not start before an operator has checked it."""
    world.connection.exec_driver_sql("DELETE FROM sink WHERE name = 'graduates'")
    assert run("pause", "graduates").exit_code == 0
    assert (row(world, "graduates").paused, row(world, "graduates").type) == ("person", "console")


@pytest.fixture
def resumable_workbook(monkeypatch):
    """A workbook, which supports both modes."""
    monkeypatch.setattr(load_sink_class("workbook"), "resume_modes", frozenset({"refill", "accept"}))


@pytest.mark.parametrize("mode", ["refill", "accept"])
@ON_BOTH
def test_the_resume_mode_reaches_the_sink_as_a_note_of_its_destination(run, world, config, resumable_workbook, mode):
    assert run("resume", "sheet", f"--{mode}").exit_code == 0
    found = world.rows(note, sink="sheet")
    assert [(one.key, json.loads(one.value)) for one in found] == [("resume", {"mode": mode})]
    assert str(config.parent / "sheet.xlsx") in found[0].destination


def test_a_word_that_the_sink_does_not_know_is_bad_usage_and_changes_nothing(run, world):
    run("pause", "chat")
    result = run("resume", "chat", "--refill")
    assert result.exit_code == 2
    assert "chat (console) cannot be resumed with 'refill'; it supports: none" in result.stderr
    assert row(world, "chat").paused == "person"
    assert world.rows(note) == []


def test_a_sink_that_knows_another_word_says_which(run, world, monkeypatch):
    monkeypatch.setattr(load_sink_class("workbook"), "resume_modes", frozenset({"accept"}))
    assert "cannot be resumed with 'refill'; it supports: accept" in run("resume", "sheet", "--refill").stderr


def test_without_a_word_no_note_is_written(run, world):
    run("resume", "sheet")
    assert world.rows(note) == []


@pytest.mark.parametrize("command", ["pause", "resume"])
def test_a_misspelt_sink_is_bad_usage(run, world, command):
    result = run(command, "shet")
    assert result.exit_code == 2
    assert "unknown sink 'shet'; did you mean sheet?" in result.stderr


@pytest.mark.parametrize("command", ["pause", "resume"])
def test_without_a_store_nothing_is_made(run, config, command):
    result = run(command, "chat")
    assert result.exit_code == 1
    assert "run `connector serve` once" in result.stderr
    assert [entry.name for entry in config.parent.iterdir()] == ["config.toml"]


def test_a_store_that_stays_busy_is_reported_without_a_traceback(run, world, monkeypatch):
    """The service's own transactions are short; this one never ends."""
    monkeypatch.setattr("connector.operations.store_access.SQLITE_BUSY_MS", 1)
    world.raw.execute("BEGIN IMMEDIATE")
    result = run("pause", "chat")
    world.raw.execute("ROLLBACK")
    assert result.exit_code == 1
    assert "database is locked" in result.stderr
