"""`replay`: its selection, its preview and question, and its work beside a running service."""

import os
import pty
from dataclasses import replace

import pytest
from sqlalchemy import delete

from connector.config import load
from connector.operations.replay import effects
from connector.role import Secrets
from connector.store import replay, retention
from connector.store.replay import ReplaySelection
from connector.store.retention import START, RetentionKind
from connector.store.schema import DeliveryState, delivery, event, event_body
from sinks.chat.config import ChatConfig
from tests import forked
from tests.cli.world import DAY, NOON, ON_BOTH, body


@pytest.fixture
def filled(world):
    """Two interviews: of the first the chat's delivery is dead, everything else is delivered."""
    world.receive(body("interview.finish", 1), body("interview.create", 2, position={"id": "p-2", "name": "Cook"}))
    world.settle_all()
    world.settle(DeliveryState.DEAD, world.ids("chat")[0], reason="gone")
    return world


def pending(world):
    return [(row.sink, row.event_seq) for row in world.rows(delivery, state=int(DeliveryState.PENDING))]


def test_dead_letters_of_a_sink_go_back(run, filled):
    result = run("replay", "--sink", "chat", "--yes")
    assert result.exit_code == 0
    assert "chat: 1 delivery (1 dead), at most 1 new message\n" in result.stdout
    assert "1 delivery waits again" in result.stdout
    assert pending(filled) == [("chat", 1)]


def test_a_preview_counts_each_interview_of_a_sheet_once(run, filled):
    """Two deliveries of one interview, one of them dead, are one row."""
    filled.receive(body("interview.score-updated", 1, NOON + 1, score=3))
    filled.settle(DeliveryState.DEAD, *filled.ids("sheet")[1:], reason="gone")
    filled.settle(DeliveryState.DEAD, filled.ids("sheet")[0], reason="gone")
    preview = run("replay", "--sink", "sheet").stdout
    assert preview.startswith("  sheet: 3 deliveries (3 dead), 2 rows\n")


def test_a_preview_of_a_chat_counts_the_events_that_make_a_message(config):
    """The others update a message or are counted in a digest."""
    settings = load(config, needs=Secrets.NONE)
    entry = replace(settings.sinks["chat"], config=ChatConfig())
    settings = replace(settings, sinks={"chat": entry})
    found = ReplaySelection(message_sinks=frozenset({"chat"}))
    found.counts["chat", "dead"] = 12
    found.notifying.update({("chat", "interview.finish"): 3, ("chat", "interview.create"): 7})
    [effect] = effects(settings, found)
    assert effect.text == (
        "chat: 12 deliveries (12 dead), at most 3 new messages; the others update messages, or a digest counts them"
    )


def test_without_a_terminal_and_without_yes_nothing_happens(run, filled):
    result = run("replay", "--sink", "chat")
    assert result.exit_code == 2
    assert "this would replay 1 delivery; add --yes to do it" in result.stderr
    assert pending(filled) == []


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--state", "dead"], [("chat", 1)]),
        (["--state", "delivered", "--sink", "chat"], [("chat", 2)]),
        (["--state", "delivered", "--sink", "sheet"], [("sheet", 1), ("sheet", 2)]),
        (["--event", "1"], [("chat", 1), ("sheet", 1)]),
        (["--interview", "interview-1"], [("chat", 1)]),
        (["--position", "bak*"], [("chat", 1)]),
        (["--position", "cook", "--state", "delivered"], [("chat", 2), ("sheet", 2)]),
        (["--since", "2026-08-01"], [("chat", 1)]),
        (["--until", "2026-08-01"], []),
        (["--position", "cook"], []),
    ],
)
@ON_BOTH
def test_what_each_choice_takes(run, filled, words, expected):
    result = run("replay", *words, "--yes")
    assert result.exit_code == 0
    assert sorted(pending(filled)) == expected
    count = len(expected)
    said = {0: "nothing to do", 1: "1 delivery waits again"}.get(count, f"{count} deliveries wait again")
    assert said in result.stdout


def test_ids_take_what_was_delivered_too(run, filled):
    ids = filled.ids("chat")
    assert run("replay", *map(str, ids), "--yes").exit_code == 0
    assert sorted(pending(filled)) == [("chat", 1), ("chat", 2)]


def test_nothing_to_do_is_no_failure(run, filled):
    result = run("replay", "--sink", "sheet")
    assert (result.exit_code, result.stdout) == (0, "no deliveries found; nothing to do\n")


@ON_BOTH
def test_many_go_back_in_short_transactions_under_a_bar(run, world):
    """A running service can write between them, and the user sees the progress."""
    world.receive(*(body("interview.create", number, NOON + number) for number in range(2 * replay.CHUNK + 1)))
    world.settle_all(DeliveryState.DEAD)
    result = run("replay", "--state", "dead", "--sink", "chat", "--yes")
    assert f"{2 * replay.CHUNK + 1} deliveries wait again" in result.stdout
    assert "replaying" in result.stderr
    assert len(pending(world)) == 2 * replay.CHUNK + 1


def test_a_misspelt_sink_is_bad_usage(run, filled):
    result = run("replay", "--sink", "chatt", "--yes")
    assert result.exit_code == 2
    assert "did you mean chat?" in result.stderr


@ON_BOTH
def test_events_of_an_older_version_are_applied(run, world):
    world.keep("unknown", body("interview.finish", 7), 1)
    world.keep("unknown", b'{"event":"interview.odd","data":{"id":"x"}}', 2)
    world.keep("unreadable", body("interview.finish", 8), 3)
    result = run("replay", "--state", "unknown", "--yes")
    assert "1 event applied, 0 duplicates of other events, 1 still not understood" in result.stdout
    assert sorted(pending(world)) == [("chat", 1), ("sheet", 1)]
    assert [row.kind for row in world.rows(event)] == ["event", "unknown", "unreadable"]


def test_unreadable_events_are_applied(run, world):
    world.keep("unreadable", body("interview.finish", 8), 3)
    run("replay", "--state", "unreadable", "--yes")
    assert sorted(pending(world)) == [("chat", 3), ("sheet", 3)]


@pytest.mark.parametrize("words", [["5"], ["--sink", "chat"]])
def test_events_are_not_chosen_by_delivery_or_sink(run, world, words):
    result = run("replay", "--state", "unknown", *words)
    assert result.exit_code == 2
    assert "selects events: use it with an event" in result.stderr


def test_without_a_store_nothing_is_made(run, config):
    assert run("replay", "--state", "dead", "--yes").exit_code == 1
    assert [entry.name for entry in config.parent.iterdir()] == ["config.toml"]


def on_a_terminal(config, answer):
    """Runs the command with a terminal as its input, on which a person types `answer`."""
    person, terminal = pty.openpty()
    os.write(person, answer)
    words = ("replay", "--sink", "chat", "--config", str(config))
    try:
        return forked.run("connector.cli", *words, environ=os.environ, stdin=terminal)
    finally:
        os.close(person)
        os.close(terminal)


@pytest.mark.parametrize(("answer", "expected"), [(b"y\n", [("chat", 1)]), (b"n\n", []), (b"\n", [])])
def test_on_a_terminal_a_person_is_asked(config, filled, answer, expected):
    done = on_a_terminal(config, answer)
    assert "Replay 1 delivery? [y/N]" in done.stdout
    assert done.returncode == 0
    assert pending(filled) == expected


@ON_BOTH
def test_replay_says_what_retention_deleted(run, world):
    world.receive(body())
    world.settle_all()
    retention.delete_slice(world.connection, RetentionKind.BODIES, NOON + DAY, START, 10)
    result = run("replay", "--state", "delivered", "--interview", "interview-1", "--yes")
    assert "chat: 1 cannot be replayed: the data of the events was deleted" in result.stdout
    pending = world.rows(delivery, state=int(DeliveryState.PENDING))
    assert {row.sink for row in pending} == {"sheet"}


def test_replay_of_events_names_those_without_a_body(run, world):
    world.keep("unreadable", body("interview.finish", 8), 3)
    world.keep("unreadable", body("interview.finish", 9), 4)
    world.connection.execute(delete(event_body).where(event_body.c.event_seq == 4))
    result = run("replay", "--state", "unreadable", "--yes")
    assert "1 event cannot be replayed: the body was deleted ([retention] bodies_days): 4" in result.stdout
    assert [(row.seq, row.kind) for row in world.rows(event)] == [(3, "event"), (4, "unreadable")]
