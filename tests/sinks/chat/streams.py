"""Random streams of events of many interviews, some twice, some late, some out of order, as Hireflix sends them."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from connector.hireflix.payload import read
from connector.merge import InterviewState, interview_of, merge
from connector.sink import Interview
from connector.testing import START, LaneRunner
from tests.sinks.slack.lanes import payload

Payload = dict[str, Any]


def events_of(number: int, chance: random.Random, *, position: int = 1) -> list[Payload]:
    """The events of one interview in the order of their dates."""
    start = START + chance.randrange(0, 600_000)
    steps = [start]
    for _ in range(6):
        steps.append(steps[-1] + chance.randrange(1_000, 60_000))
    done: Payload = {"status": "completed", "completed": steps[1]}
    events = [payload("create", number, steps[0], position=position)]
    if chance.random() < 0.25:  # so that completion meets a message that stands there already
        events.append(payload("status-change", number, steps[0] + 500, position=position, status="on_hold"))
    if chance.random() < 0.85:
        events.append(payload("finish", number, steps[1], position=position, **done))
        events.append(payload("status-change", number, steps[1] + 3, position=position, **done))
    if chance.random() < 0.6:
        score = chance.randrange(1, 10) / 2
        events.append(payload("score-updated", number, steps[2], position=position, **done, score={"value": score}))
    if chance.random() < 0.5:
        decided = {chance.choice(["archived", "finalist"]): steps[3]}
        events.append(payload("status-change", number, steps[3], position=position, **done, **decided))
    if chance.random() < 0.12:
        events.append(payload("delete", number, steps[4], position=position, deleted=True))
    return events


def stream(seed: int, interviews: int, *, positions: int = 1) -> list[Payload]:
    """The events of all interviews by date, one in seven out of order, one in eight twice."""
    chance = random.Random(seed)
    events = [
        event for number in range(interviews) for event in events_of(number, chance, position=1 + number % positions)
    ]
    events += [event for event in events if chance.random() < 0.12]
    shift = {id(event): chance.randrange(0, 120_000) if chance.random() < 0.14 else 0 for event in events}
    return sorted(events, key=lambda event: event["date"] + shift[id(event)])


@dataclass
class Feed:
    """Sends payloads to a lane as the receiver does, and computes what the channel must show afterwards."""

    lane: LaneRunner
    states: dict[str, InterviewState] = field(default_factory=dict)
    seen: set[str] = field(default_factory=set)
    creates: int = 0

    async def take(self, *payloads: Payload) -> None:
        for one in payloads:
            body = json.dumps(one).encode()
            reading = read(body, self.lane.clock.now())
            await self.lane.store.offer(reading, body)
            if reading.identity not in self.seen:
                self.seen.add(reading.identity)
                self.creates += reading.name == "interview.create"
                self.states[reading.interview_id] = merge(self.states.get(reading.interview_id), reading)

    @property
    def interviews(self) -> dict[str, Interview]:
        return {id_: interview_of(id_, state) for id_, state in self.states.items()}


async def play(feed: Feed, payloads: Sequence[Payload]) -> None:
    """Sends each event at its time in the stream, at least a second after the one before. The lane runs in between."""
    for one in payloads:
        await feed.take(one)
        await feed.lane.run(until=feed.lane.clock.now() + 1_000)
        feed.lane.clock.advance(1)
    await feed.lane.run()
