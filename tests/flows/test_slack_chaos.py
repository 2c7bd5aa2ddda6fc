"""Slack under faults, with the real process killed: every finish is posted once, nothing is lost or repeated."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from connector.emulators import faults
from connector.emulators.faults import Fault
from connector.emulators.slack import Rate, SlackEmulator
from connector.merge import decode, interview_of
from connector.sink import Interview
from tests.flows.process import ANY_AGE_SECONDS, Service, post
from tests.sinks.chat.channel_rules import broken_rules
from tests.sinks.chat.streams import stream

LOST = [faults.REFUSE, faults.DROP, faults.HTML_503, replace(faults.APPLY_503, status=500), faults.BROKEN_JSON]
THROTTLED = Fault(faults.FaultKind.STATUS, status=429, body="", headers={"Retry-After": "1"})
KILLS = 3


def configured(slack: SlackEmulator, channels: Sequence[str], rate: float) -> str:
    """One sink per channel, with the position of the same number."""
    toml = f'[defaults.slack]\ntoken = "{slack.token}"\napi_url = "{slack.api_url}"\nrate_per_second = {rate}\n'
    toml += f"max_age = {ANY_AGE_SECONDS}\n"
    for number, channel in enumerate(channels, 1):
        toml += f'[sinks.c{number}]\ntype = "slack"\nchannel = "{channel}"\ndigest_window = 1\n'
        toml += f'[[routes]]\npositions = ["{number:024x}"]\nsinks = ["c{number}"]\n'
    return toml


def feed(service: Service, payloads: Sequence[dict[str, Any]], chance: random.Random) -> None:
    """Posts everything. The process is killed and started again three times. Events that were not acknowledged are
    posted again, as Hireflix does.
    """
    fatal = sorted(chance.sample(range(len(payloads) // 4, len(payloads)), KILLS))
    with httpx.Client(trust_env=False) as client:
        for number, payload in enumerate(payloads):
            if number in fatal:
                service.kill()
                service.start()
            assert post(client, service.hook, payload) == 202


def interviews_of(service: Service) -> dict[str, dict[str, Interview]]:
    """Position id -> interview id -> interview, as the store has them."""
    found: dict[str, dict[str, Interview]] = {}
    for id_, state, position in service.query("SELECT id, state, position_id FROM interview"):
        found.setdefault(position, {})[id_] = interview_of(id_, decode(state))
    return found


def verdict(service: Service, slack: SlackEmulator, channels: Sequence[str]) -> list[str]:
    creates = Counter(
        row[0]
        for row in service.query(
            "SELECT i.position_id FROM event e JOIN interview i ON i.id = e.interview_id "
            "WHERE e.name = 'interview.create'"
        )
    )
    known = interviews_of(service)
    return [
        f"{channel}: {problem}"
        for number, channel in enumerate(channels, 1)
        for problem in broken_rules(slack.channel(channel), known.get(f"{number:024x}", {}), creates[f"{number:024x}"])
    ]


def sometimes(seed: int, kinds: list[Fault]) -> Callable[[str], Fault | None]:
    """A chooser of faults for one call in twenty, with a sequence of its own: the emulator draws in another thread."""
    chance = random.Random(seed)
    return lambda _call: chance.choice(kinds) if chance.random() < 0.05 else None


def dead(service: Service) -> list[Any]:
    return service.query("SELECT sink, key, reason FROM delivery WHERE state = 3")


@pytest.mark.timeout(180)
def test_two_channels_three_kills_and_faults(tmp_path: Path) -> None:
    """The short mode, which checks when all deliveries except the searches for duplicates are settled."""
    chance = random.Random(11)
    with SlackEmulator() as slack:
        slack.limits = True
        slack.rates.channel, slack.rates.workspace = Rate(20, 10), Rate(100, 100)
        channels = [slack.add_channel(f"c{number}") for number in range(2)]
        service = Service(tmp_path, configured(slack, channels, 15))
        slack.faults.choose(sometimes(11, [*LOST, THROTTLED]))
        with service:
            feed(service, stream(11, 16, positions=2), chance)
            slack.faults.choose(None)
            service.settled(90)
            assert verdict(service, slack, channels) == []
            assert dead(service) == []


@pytest.mark.chaos
def test_twenty_channels_three_thousand_events(tmp_path: Path) -> None:
    """The long mode, with calls that hang, which waits for the last search for duplicates."""
    chance = random.Random(20)
    kinds = [*LOST, *LOST, THROTTLED, faults.TRUNCATE, replace(faults.APPLY_HANG, match=None)]
    with SlackEmulator() as slack:
        slack.limits = True
        slack.rates.workspace = Rate(5, 60)
        channels = [slack.add_channel(f"c{number}") for number in range(20)]
        service = Service(tmp_path, configured(slack, channels, 1))
        slack.faults.choose(sometimes(20, kinds))
        with service:
            events = stream(20, 710, positions=20)[:3_000]
            assert len(events) == 3_000
            feed(service, events, chance)
            service.settled(3_000, looks=True)
            print(Counter(call.method for call in slack.calls), len(slack.requests))
            assert verdict(service, slack, channels) == []
            assert dead(service) == []
