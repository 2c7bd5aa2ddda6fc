"""`snooze` leaves an interview out of the reminders of all chats that post them."""

import json

import pytest

from connector.store.schema import audit, note
from tests.cli.world import NOON, ON_BOTH, body

CHANNELS = """
[sinks.one]
type = "slack"
channel = "C0000000001"
reminders = {}
[sinks.two]
type = "slack"
channel = "C0000000002"
"""


@pytest.fixture
def reminding(config):
    """Two channels, one with reminders; the command needs no token."""
    text = config.read_text().replace("[[routes]]", f"{CHANNELS}\n[[routes]]", 1)
    config.write_text(text + '\n[[routes]]\nsinks = ["one", "two"]\n')


def notes_of(world):
    return [(row.sink, row.destination, row.key, json.loads(row.value)) for row in world.rows(note)]


@ON_BOTH
def test_an_interview_is_left_out_for_some_days_and_listed_again(run, world, reminding):
    world.receive(body())
    result = run("snooze", "interview-1", "--days", "3")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("interview-1 is not in the reminders of one until ")
    ((sink, destination, key, value),) = notes_of(world)
    assert (sink, destination, key) == ("one", "C0000000001", "snooze:interview-1")
    assert value["until"] > NOON
    assert run("snooze", "interview-1", "--days", "0").stdout == "interview-1 is in the reminders of one again\n"
    assert notes_of(world) == []
    assert [(row.action, row.target, row.detail) for row in world.rows(audit)] == [
        ("snooze", "interview-1", "3 days"),
        ("snooze", "interview-1", "0 days"),
    ]


def test_an_unknown_interview_is_refused(run, world, reminding):
    result = run("snooze", "interview-9")
    assert result.exit_code == 2
    assert "no interview 'interview-9'" in result.stderr


def test_without_reminders_it_says_what_to_set(run, world):
    world.receive(body())
    result = run("snooze", "interview-1")
    assert result.exit_code == 2
    assert "set `reminders` in the section of a Slack channel" in result.stderr
