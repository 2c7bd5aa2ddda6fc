"""Slack through the real service: each message is about its own candidate, and unsent deliveries are shown later."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from connector.emulators.slack import SlackEmulator
from connector.store.migrate import migrate
from tests.flows.process import ANY_AGE_SECONDS, Service, post
from tests.sinks.slack.own_data import foreign_data, person, webhook

INTERVIEWS = 60


def slack_sink(slack: SlackEmulator, channel: str, *, routes: str = "") -> str:
    return f"""
    [sinks.chat]
    type = "slack"
    token = "{slack.token}"
    channel = "{channel}"
    api_url = "{slack.api_url}"
    rate_per_second = 20
    digest_window = 1
    max_age = {ANY_AGE_SECONDS}
    {routes}
    """


def feed(service: Service, payloads: list[dict[str, Any]], kills: list[int]) -> None:
    """Posts all. Before those with an index in `kills` the process is killed and started again."""
    with httpx.Client(trust_env=False) as client:
        for number, payload in enumerate(payloads):
            if number in kills:
                service.kill()
                service.start()
            assert post(client, service.hook, payload) in {200, 202}


@pytest.mark.timeout(240)
def test_no_message_shows_the_data_of_another_candidate(tmp_path: Path) -> None:
    """60 interviews in random order and two kills. Every message, reply and notification is checked by the content of
    the channel.
    """
    chance = random.Random(14)
    events = [
        webhook(name, number)
        for number in range(INTERVIEWS)
        for name in ("create", "finish", "score-updated")
        if name != "score-updated" or number % 3 == 0
    ]
    chance.shuffle(events)
    with SlackEmulator() as slack:
        channel = slack.add_channel("hiring")
        service = Service(tmp_path, slack_sink(slack, channel))
        with service:
            feed(service, events, sorted(chance.sample(range(len(events) // 3, len(events)), 2)))
            service.settled(120)
            assert service.query("SELECT 1 FROM delivery WHERE state IN (3, 4)") == []
        shown = {person(number).name for number in range(INTERVIEWS)}
        heads = [message for message in slack.messages(channel) if not message.is_reply]
        assert sum(any(name in message.text for name in shown) for message in heads) == INTERVIEWS
        assert foreign_data(slack.messages(channel)) == []


@pytest.mark.timeout(120)
def test_what_was_never_shown_in_a_wrong_channel_is_shown_in_the_right_one(tmp_path: Path) -> None:
    """12 invitations wait for the digest of a channel that does not exist. After the id is corrected the digest counts
    all of them.
    """
    with SlackEmulator() as slack:
        channel = slack.add_channel("hiring")
        service = Service(tmp_path, slack_sink(slack, "C0000000ZZZ") + "[delivery]\nprobe_interval = 0.5\n")
        with service:
            feed(service, [webhook("create", number, position="p1") for number in range(12)], [])
            service.until(lambda: service.query("SELECT 1 FROM sink WHERE paused = 'broken'"))
            service.until(lambda: slack.requests.count("chat.postMessage") >= 3)
            assert service.query("SELECT count(*) FROM delivery WHERE state = 4") == [(12,)]
            assert service.query("SELECT 1 FROM delivery WHERE state = 1") == []
            assert not any("sink resumed" in line for line in service.logs)
        service = Service(tmp_path, slack_sink(slack, channel))
        with service:
            service.until(lambda: slack.messages(channel))
            service.settled(60)
            assert service.query("SELECT count(*) FROM delivery WHERE state = 1 AND event_seq IS NOT NULL") == [(12,)]
            service.until(lambda: any("sink resumed" in line for line in service.logs))
        (message,) = slack.messages(channel)
        assert "12 invited" in message.text


@pytest.mark.timeout(120)
def test_a_deleted_candidate_is_not_named_any_more_whatever_the_route_filters(tmp_path: Path) -> None:
    """The route matches finishes only. A score updates the message silently, and a deletion removes the name."""
    routes = '[[routes]]\nevents = ["interview.finish"]\nsinks = ["chat"]\n'
    with SlackEmulator() as slack:
        channel = slack.add_channel("hiring")
        service = Service(tmp_path, slack_sink(slack, channel, routes=routes))
        with service:
            feed(service, [webhook("create", 1), webhook("finish", 1)], [])
            service.settled()
            (message,) = slack.messages(channel)
            assert person(1).name in message.text
            feed(service, [webhook("score-updated", 1), webhook("score-updated", 2)], [])
            _until_shown(service, slack, channel, lambda text: person(1).score in text)
            assert len(slack.messages(channel)) == 1
            feed(service, [webhook("delete", 1)], [])
            _until_shown(service, slack, channel, lambda text: person(1).name not in text)
            service.settled()
        (message,) = slack.messages(channel)
        assert person(1).name not in f"{message.text} {message.blocks}"
        assert message.edited


def _until_shown(service: Service, slack: SlackEmulator, channel: str, condition: Callable[[str], bool]) -> None:
    def is_shown() -> bool:
        message = slack.messages(channel)[0]
        return condition(f"{message.text} {message.blocks}")

    service.until(is_shown)


@pytest.mark.timeout(120)
def test_an_upgraded_service_takes_the_name_of_a_deleted_candidate_away(tmp_path: Path) -> None:
    """A message that an earlier version posted is subscribed by the migration that `serve` runs."""
    routes = '[[routes]]\nevents = ["interview.finish"]\nsinks = ["chat"]\n'
    with SlackEmulator() as slack:
        channel = slack.add_channel("hiring")
        service = Service(tmp_path, slack_sink(slack, channel, routes=routes))
        with service:
            feed(service, [webhook("finish", 1)], [])
            service.settled()
        _as_the_first_schema(service.store)
        with service:
            feed(service, [webhook("delete", 1)], [])
            _until_shown(service, slack, channel, lambda text: person(1).name not in text)
            service.settled()
        (message,) = slack.messages(channel)
        assert person(1).name not in f"{message.text} {message.blocks}"
        assert message.edited


def _as_the_first_schema(path: Path) -> None:
    """Replaces the store by one of the first schema with the same rows, as the version before this one had."""
    newer = path.with_name("newer.db")
    path.rename(newer)
    migrate(f"sqlite:///{path}", to="0001")
    with closing(sqlite3.connect(path)) as store:
        store.execute("ATTACH ? AS newer", (str(newer),))
        for table in ("event", "interview", "delivery", "attempt", "sink", "note", "bucket"):
            older, newest = (
                {row[1] for row in store.execute(f"PRAGMA {schema}.table_info({table})")}
                for schema in ("main", "newer")
            )
            names = ", ".join(f'"{name}"' for name in sorted(older & newest))
            into, values = (f"{names}, entered", f"{names}, ''") if table == "interview" else (names, names)
            store.execute(f"INSERT INTO main.{table} ({into}) SELECT {values} FROM newer.{table}")
        store.execute("INSERT OR REPLACE INTO main.meta SELECT key, value FROM newer.meta WHERE key = 'instance'")
        store.commit()
