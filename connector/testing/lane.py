"""A message sink's lane in memory: order, holds, tokens, doubt, waiting, follow-ups and crashes, on a manual clock.

For tests that play many events against a destination with faults:

    lane = MessageLane(sink, FakeContext())
    lane.add(make_event(), make_interview())
    await lane.run()
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from connector.errors import RateLimited, SinkBroken
from connector.interview import Event, Interview, is_late
from connector.sink import Batch, Delivery, FollowUp, Outcome, Rejected, Result, RetryLater, Sink, Waiting
from connector.testing.context import FakeContext
from connector.testing.run import notes_for

USUAL_PRIORITY = 100
FOLLOW_UP_PRIORITY = 1000
LONGEST_BACKOFF = 60.0
PROBE = 300.0
UNSHOWN_MS = 60_000


@dataclass(slots=True)
class _Row:
    id: str
    key: str
    event: Event | None
    interview: str | None
    priority: int
    since: int
    not_before: int = 0
    attempts: int = 0
    is_held: bool = False
    maybe_sent: bool = False
    started_at: int | None = None
    outcome: Outcome | None = None
    silent: bool = False
    follow_up: FollowUp | None = None

    @property
    def order(self) -> tuple[str, str]:
        """What its order is kept by."""
        return "" if self.follow_up is None else self.follow_up.purpose, self.key

    @property
    def group(self) -> str:
        """The group that it shows."""
        return "" if self.follow_up is None else self.follow_up.group

    @property
    def is_pending(self) -> bool:
        return self.outcome is None

    def waits_in(self, group: str) -> bool:
        return isinstance(self.outcome, Waiting) and self.outcome.group == group


@dataclass
class MessageLane:
    """Calls a message sink as the dispatcher does, one delivery at a time.

    A delivery that failed or is unclear holds back the others of its purpose and key; one that waits for a token holds
    back nothing. `interviews` is what is known now, by id. `calls` counts calls of `deliver`, `broken` the pauses.
    """

    sink: Sink[Any]
    context: FakeContext
    interviews: dict[str, Interview] = field(default_factory=dict)
    calls: int = 0
    broken: list[SinkBroken] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._rows: list[_Row] = []
        self._number = 0

    def add(self, event: Event, interview: Interview, *, received_at: int | None = None, silent: bool = False) -> None:
        """An event, with the interview as it is known once it happened. Without a time it is received now."""
        self.interviews[interview.id] = interview
        rank = self.sink.priority.get(event.name, USUAL_PRIORITY)
        since = self.context.now() if received_at is None else received_at
        self._rows.append(_Row(self._name(), interview.id, event, interview.id, rank, since, silent=silent))

    @property
    def pending(self) -> list[str]:
        """Keys of what is to be called."""
        return [row.key for row in self._rows if row.is_pending]

    @property
    def waiting(self) -> list[str]:
        """Keys of what waits for another call to show it."""
        return [row.key for row in self._rows if isinstance(row.outcome, Waiting)]

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
        except RateLimited as wait:
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
        for each in result.follow_ups:
            self._ask(each, self.context.now() + round(each.after.total_seconds() * 1000))
        self._settle_groups(row, result)

    def _settle_groups(self, row: _Row, result: Result) -> None:
        """Ends what waited for the call, or has it called again when nothing will show it any more."""
        ends: dict[str, Outcome] = dict(result.settles)
        if row.group and isinstance(row.outcome, Rejected):
            ends.setdefault(row.group, row.outcome)
        for group, outcome in ends.items():
            for each in self._rows:
                if each.waits_in(group):
                    each.outcome = outcome
        shown = {each.group for each in self._rows if each.is_pending}
        for each in self._rows:
            if isinstance(each.outcome, Waiting) and each.outcome.group not in shown:
                each.outcome = None
                each.not_before = self.context.now() + UNSHOWN_MS
        self.context.waits = Counter(each.outcome.group for each in self._rows if isinstance(each.outcome, Waiting))

    def _ask(self, asked: FollowUp, at: int) -> None:
        about = (asked.purpose, asked.interview, asked.subject)
        for row in self._rows:
            known = row.follow_up
            if row.is_pending and known and (known.purpose, known.interview, known.subject) == about:
                row.follow_up = asked
                if not row.attempts and not row.is_held:
                    row.not_before = min(row.not_before, at)
                return
        row = _Row(self._name(), asked.interview or asked.subject, None, asked.interview, FOLLOW_UP_PRIORITY, at, at)
        row.follow_up = replace(asked, after=timedelta(0))
        self._rows.append(row)

    def _free(self) -> list[_Row]:
        """What nothing else of its purpose and key holds back."""
        held = {row.order for row in self._rows if row.is_pending and row.is_held}
        return [row for row in self._rows if row.is_pending and (row.is_held or row.order not in held)]

    def _best(self) -> _Row | None:
        due = [row for row in self._free() if row.not_before <= self.context.now()]
        return min(due, key=lambda row: row.priority, default=None)

    def _next_due(self) -> int:
        return min((row.not_before for row in self._free()), default=self.context.now())

    def _delivery(self, row: _Row) -> Delivery:
        late = row.event is not None and is_late(row.since, row.event, self.context.now(), self.sink.max_age)
        about = None if row.interview is None else self.interviews.get(row.interview)
        return Delivery(
            row.id,
            row.key,
            row.event,
            about,
            row.attempts + 1,
            late,
            silent=row.silent,
            follow_up=row.follow_up,
        )

    def _name(self) -> str:
        self._number += 1
        return f"delivery-{self._number}"
