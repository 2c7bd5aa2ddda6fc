"""A message sink's lane in memory: order, holds, tokens, doubt, follow-up calls and crashes, on a manual clock.

For tests that play many events against a destination with faults:

    lane = MessageLane(sink, FakeContext())
    lane.add(make_event(), make_interview())
    await lane.run()
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from connector.errors import SinkBroken, Wait
from connector.interview import Event, Interview
from connector.sink import Batch, Delivery, Outcome, Rejected, Result, RetryLater, Sink
from connector.testing.context import FakeContext
from connector.testing.run import notes_for

USUAL_PRIORITY = 100
AGAIN_PRIORITY = 1000
LONGEST_BACKOFF = 60.0
PROBE = 300.0


@dataclass(slots=True)
class _Row:
    id: str
    key: str
    event: Event | None
    interview: str
    priority: int
    since: int
    not_before: int = 0
    attempts: int = 0
    is_held: bool = False
    maybe_sent: bool = False
    started_at: int | None = None
    outcome: Outcome | None = None


@dataclass
class MessageLane:
    """Calls a message sink as the dispatcher does, one delivery at a time.

    A delivery that failed or is unclear holds back the others of its key; one that waits for a token holds back
    nothing. `interviews` is what is known now, by id. `calls` counts calls of `deliver`, `broken` the pauses.
    """

    sink: Sink[Any]
    context: FakeContext
    interviews: dict[str, Interview] = field(default_factory=dict)
    calls: int = 0
    broken: list[SinkBroken] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._rows: list[_Row] = []
        self._number = 0

    def add(self, event: Event, interview: Interview, *, received_at: int | None = None) -> None:
        """An event, with the interview as it is known once it happened. Without a time it is received now."""
        self.interviews[interview.id] = interview
        rank = self.sink.priority.get(event.name, USUAL_PRIORITY)
        since = self.context.now() if received_at is None else received_at
        self._rows.append(_Row(self._name(), interview.id, event, interview.id, rank, since))

    @property
    def pending(self) -> list[str]:
        """Keys of what is not settled."""
        return [row.key for row in self._rows if row.outcome is None]

    @property
    def dead(self) -> list[str]:
        """Reasons of what was rejected."""
        return [row.outcome.reason for row in self._rows if isinstance(row.outcome, Rejected)]

    async def run(self, *, until: int | None = None, most: int = 10_000) -> None:
        """Calls the sink until nothing is pending, or until a time (epoch milliseconds), and moves the clock on
        instead of waiting. `AssertionError` after `most` steps.
        """
        for _ in range(most):
            if not self.pending or (until is not None and self._next_due() > until):
                return
            await self.step()
        raise AssertionError(f"not settled after {most} steps: {self.pending[:10]}")

    async def step(self, *, dies: bool = False) -> None:
        """One call, or one wait for the next. With `dies` the process ends after the call: what the sink remembered
        is kept, its answer is not.
        """
        row = self._best()
        if row is None:
            self.context.clock.advance(max(0, self._next_due() - self.context.now()) / 1000)
            return
        row.started_at = self.context.now() if row.started_at is None else row.started_at
        delivery = self._delivery(row)
        notes = notes_for(self.sink, [delivery], self.context)
        batch = Batch(f"batch-{row.id}", row.started_at, [delivery], notes, row.maybe_sent)
        self.calls += 1
        try:
            result = await self.sink.deliver(batch, self.context)
        except Wait as wait:
            row.not_before = self.context.now() + round(wait.seconds * 1000) + 1
            if not row.maybe_sent:
                row.started_at = None
            return
        except SinkBroken as broken:
            self.broken.append(broken)
            row.not_before = self.context.now() + round(PROBE * 1000)
            return
        if dies:
            row.maybe_sent = row.is_held = True
            return
        self._settle(row, result)

    def _settle(self, row: _Row, result: Result) -> None:
        (outcome,) = result.outcomes
        if isinstance(outcome, RetryLater):
            row.attempts += outcome.counts
            row.is_held = True
            row.maybe_sent = row.maybe_sent or outcome.unclear
            if not row.maybe_sent:
                row.started_at = None
            after = min(2.0**row.attempts, LONGEST_BACKOFF) if outcome.after is None else outcome.after
            row.not_before = self.context.now() + round(after * 1000)
        else:
            row.outcome = outcome
        self.context.apply(result.notes)
        for key, delay in result.again.items():
            self._ask(key, row.interview, self.context.now() + round(delay.total_seconds() * 1000))

    def _ask(self, key: str, interview: str, at: int) -> None:
        waiting = next(
            (row for row in self._rows if row.outcome is None and row.event is None and row.key == key), None
        )
        if waiting is None:
            about = key if key in self.interviews else interview
            self._rows.append(_Row(self._name(), key, None, about, AGAIN_PRIORITY, self.context.now(), at))
        elif not waiting.attempts and not waiting.is_held:
            waiting.not_before = min(waiting.not_before, at)

    def _best(self) -> _Row | None:
        now = self.context.now()
        held = {row.key for row in self._rows if row.outcome is None and row.is_held}
        due = [
            row
            for row in self._rows
            if row.outcome is None and row.not_before <= now and (row.is_held or row.key not in held)
        ]
        return min(due, key=lambda row: row.priority, default=None)

    def _next_due(self) -> int:
        held = {row.key for row in self._rows if row.outcome is None and row.is_held}
        free = [row for row in self._rows if row.outcome is None and (row.is_held or row.key not in held)]
        return min((row.not_before for row in free), default=self.context.now())

    def _delivery(self, row: _Row) -> Delivery:
        age = self.sink.max_age
        late = row.event is not None and age is not None and row.since < self.context.now() - age * 1000
        return Delivery(row.id, row.key, row.event, self.interviews.get(row.interview), row.attempts + 1, late)

    def _name(self) -> str:
        self._number += 1
        return f"delivery-{self._number}"
