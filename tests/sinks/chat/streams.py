"""Streams as Hireflix sends them, seeded: events of many interviews, some twice, some late, some out of order."""

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


def life(number: int, chance: random.Random, *, position: int = 1) -> list[Payload]:
    """The events of one interview in the order of their dates."""
    start = START + chance.randrange(0, 600_000)
    steps = [start]
    for _ in range(6):
        steps.append(steps[-1] + chance.randrange(1_000, 60_000))
    done: Payload = {"status": "completed", "completed": steps[1]}
    told = [payload("create", number, steps[0], position=position)]
    if chance.random() < 0.25:  # so that completion meets a message that stands there already
        told.append(payload("status-change", number, steps[0] + 500, position=position, status="on_hold"))
    if chance.random() < 0.85:
        told.append(payload("finish", number, steps[1], position=position, **done))
        told.append(payload("status-change", number, steps[1] + 3, position=position, **done))
    if chance.random() < 0.6:
        score = chance.randrange(1, 10) / 2
        told.append(payload("score-updated", number, steps[2], position=position, **done, score={"value": score}))
    if chance.random() < 0.5:
        decided = {chance.choice(["archived", "finalist"]): steps[3]}
        told.append(payload("status-change", number, steps[3], position=position, **done, **decided))
    if chance.random() < 0.12:
        told.append(payload("delete", number, steps[4], position=position, deleted=True))
    return told


def stream(seed: int, interviews: int, *, positions: int = 1) -> list[Payload]:
    """All lives together by date, one in seven out of order, one in eight twice."""
    chance = random.Random(seed)
    told = [event for number in range(interviews) for event in life(number, chance, position=1 + number % positions)]
    told += [event for event in told if chance.random() < 0.12]
    shift = {id(event): chance.randrange(0, 120_000) if chance.random() < 0.14 else 0 for event in told}
    return sorted(told, key=lambda event: event["date"] + shift[id(event)])


@dataclass
class Feed:
    """Sends payloads to a lane as the receiver does, and knows what the channel must show afterwards."""

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
    """Each event comes at its place in the stream, a second after the one before at least; in between the lane runs."""
    for one in payloads:
        await feed.take(one)
        await feed.lane.run(until=feed.lane.clock.now() + 1_000)
        feed.lane.clock.advance(1)
    await feed.lane.run()
