"""`dismiss`: settles dead letters with a reason, asks first, and can be taken back."""

import json

import pytest

from connector.store.schema import DeliveryState, delivery
from tests.cli.world import NOON, ON_BOTH, body


@pytest.fixture
def filled(world):
    """Two dead letters of the chat; everything else is delivered."""
    world.receive(body("interview.finish", 1), body("interview.create", 2, position={"id": "p-2", "name": "Cook"}))
    world.settle_all()
    world.settle(DeliveryState.DEAD, *world.ids("chat"), reason="gone")
    return world


def dismissed(world):
    return [row.id for row in world.rows(delivery, state=int(DeliveryState.DISMISSED))]


def dismiss(run, *words):
    return run("dismiss", *words, "--reason", "position closed", "--yes")


@ON_BOTH
def test_dead_letters_of_a_sink_are_dismissed_with_both_reasons(run, filled):
    result = dismiss(run, "--sink", "chat")
    assert result.exit_code == 0
    assert "chat: 2 dead" in result.stdout
    assert "2 dead letters dismissed" in result.stdout
    rows = filled.rows(delivery, state=int(DeliveryState.DISMISSED))
    assert {row.reason for row in rows} == {"position closed (failed with: gone)"}


def test_the_time_of_the_dismissal_is_stored(run, filled):
    dismiss(run, "--sink", "chat")
    assert all(row.done_at > NOON + 1000 for row in filled.rows(delivery, sink="chat"))


def test_an_id_dismisses_that_dead_letter_only(run, filled):
    first, _ = filled.ids("chat")
    dismiss(run, str(first))
    assert dismissed(filled) == [first]


def test_a_delivered_delivery_is_not_dismissed(run, filled):
    result = dismiss(run, *map(str, filled.ids("sheet")))
    assert result.stdout == "no dead letters found; nothing to do\n"
    assert dismissed(filled) == []


@pytest.mark.parametrize("words", [["--position", "cook"], ["--interview", "interview-2"], ["--event", "2"]])
@ON_BOTH
def test_options_select_as_those_of_replay(run, filled, words):
    dismiss(run, *words)
    assert dismissed(filled) == filled.ids("chat")[1:]


@ON_BOTH
def test_a_replay_takes_them_back_under_their_ids(run, filled):
    dismiss(run, "--sink", "chat")
    run("replay", "--state", "dismissed", "--sink", "chat", "--yes")
    pending = filled.rows(delivery, state=int(DeliveryState.PENDING))
    assert [row.id for row in pending] == filled.ids("chat")


def test_a_replay_of_dead_letters_leaves_the_dismissed_ones(run, filled):
    first, second = filled.ids("chat")
    dismiss(run, str(first))
    run("replay", "--state", "dead", "--yes")
    assert [row.id for row in filled.rows(delivery, state=int(DeliveryState.PENDING))] == [second]


def test_status_no_longer_counts_them_as_dead(run, filled):
    dismiss(run, "--sink", "chat")
    sinks = json.loads(run("status", "--json").stdout)["sinks"]
    assert {sink["name"]: sink["dead"] for sink in sinks}["chat"] == 0


def test_the_listing_shows_them_by_their_state(run, filled):
    dismiss(run, "--sink", "chat")
    rows = json.loads(run("deliveries", "--state", "dismissed", "--json").stdout)
    assert [row["state"] for row in rows] == ["dismissed", "dismissed"]


def test_without_a_terminal_and_without_yes_nothing_is_dismissed(run, filled):
    result = run("dismiss", "--sink", "chat", "--reason", "closed")
    assert result.exit_code == 2
    assert "this would dismiss 2 dead letters; add --yes to do it" in result.stderr
    assert dismissed(filled) == []


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["--reason", "closed"], "select what to dismiss"),
        (["--sink", "chat", "--reason", " "], "give a reason of 1 to 300 characters"),
        (["--sink", "chat", "--reason", "x" * 301], "give a reason of 1 to 300 characters"),
        (["--sink", "chatt", "--reason", "closed"], "did you mean chat?"),
        (["--sink", "chat"], "reason"),
    ],
)
def test_bad_usage_dismisses_nothing(run, filled, words, problem):
    result = run("dismiss", *words, "--yes")
    assert result.exit_code == 2
    assert problem in result.stderr
    assert dismissed(filled) == []


@ON_BOTH
def test_all_deliveries_of_a_removed_sink_are_dismissed(run, filled, config, json_of):
    """No lane would ever settle them, their events would keep their data, and the status would never be clean."""
    filled.receive(body("interview.finish", 3))
    config.write_text(config.read_text().replace("chat", "talk"))
    [trouble] = [each for each in json_of("status")["troubles"] if each["kind"] == "orphaned"]
    assert 'connector dismiss --sink chat --reason "the sink was removed"' in trouble["fix"]

    result = dismiss(run, "--sink", "chat")

    assert "chat: 3 dead, pending and waiting" in result.stdout
    assert "3 deliveries dismissed" in result.stdout
    rows = filled.rows(delivery, sink="chat")
    assert {row.state for row in rows} == {DeliveryState.DISMISSED}
    assert {row.reason for row in rows} == {"position closed (failed with: gone)", "position closed"}
    assert "chat" not in {each["name"] for each in json_of("status")["sinks"]}


def test_pending_deliveries_of_a_configured_sink_are_not_dismissed(run, filled):
    filled.receive(body("interview.finish", 3))
    dismiss(run, "--sink", "chat")
    assert [row.state for row in filled.rows(delivery, sink="chat")].count(DeliveryState.PENDING) == 1


def test_a_sink_that_never_was_is_bad_usage(run, filled):
    result = dismiss(run, "--sink", "chad")
    assert result.exit_code == 2
    assert "did you mean chat?" in result.stderr
