"""A minimal dispatcher for tests: reads notes, calls the sink and commits its result."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

from connector.capabilities import ERASE, VERIFY
from connector.errors import RateLimited
from connector.interview import Interview
from connector.sink import Batch, Delivery, FollowUp, Note, Outcome, Result, RetryLater, Sink, Waiting
from connector.testing.context import FakeContext

REGULAR = timedelta(minutes=1)
"""A verification asked for later than this is a regular one, which `run_until_settled` does not wait for."""
ROUNDS = 200
"""Calls after which `run_until_settled` gives up."""


def notes_for(sink: Sink[Any], deliveries: Sequence[Delivery], context: FakeContext) -> dict[str, Note]:
    """The committed notes that the sink asks for with `note_keys`."""
    wanted = {key for delivery in deliveries for key in sink.note_keys(delivery)}
    return {key: context.notes[key] for key in sorted(wanted) if key in context.notes}


async def run_batch(
    sink: Sink[Any],
    deliveries: Sequence[Delivery],
    context: FakeContext,
    *,
    id: str = "batch-1",  # noqa: A002 - named as the field it fills
    started_at: int | None = None,
    maybe_sent: bool = False,
) -> Result:
    """One call of `deliver` with the notes it asked for; its notes are committed to `context`.

    What the sink raises goes through, and then nothing is committed but what it remembered. A wrong number of
    outcomes is a `ValueError`.
    """
    batch = Batch(
        id=id,
        started_at=context.now() if started_at is None else started_at,
        deliveries=tuple(deliveries),
        notes=notes_for(sink, deliveries, context),
        maybe_sent=maybe_sent,
    )
    result = await sink.deliver(batch, context)
    if len(result.outcomes) != len(batch.deliveries):
        raise ValueError(f"{len(batch.deliveries)} deliveries, but {len(result.outcomes)} outcomes")
    context.apply(result.notes)
    return result


async def run_all(sink: Sink[Any], deliveries: Sequence[Delivery], context: FakeContext) -> list[Outcome]:
    """All deliveries in order, in batches of at most `max_batch`; their outcomes in the same order."""
    outcomes: list[Outcome] = []
    for start in range(0, len(deliveries), sink.max_batch):
        part = deliveries[start : start + sink.max_batch]
        outcomes += (await run_batch(sink, part, context, id=f"batch-{start}")).outcomes
    return outcomes


async def run_until_settled(
    sink: Sink[Any], deliveries: Sequence[Delivery], context: FakeContext
) -> dict[str, Outcome]:
    """Calls the sink until nothing is left to do, and moves the manual clock on instead of waiting.

    Batches hold at most `max_batch` deliveries; what asks for another try gets one, what has no token waits for it,
    and the follow-ups come last, when they are due. Gives the last outcome per delivery id, those of follow-ups
    included (`follow-up-<number>`). What the sink raises goes through; `AssertionError` after `ROUNDS` calls.
    """
    outcomes: dict[str, Outcome] = {}
    pending = list(deliveries)
    known = {each.interview.id: each.interview for each in deliveries if each.interview is not None}
    asked: dict[tuple[str, str | None, str], tuple[int, FollowUp]] = {}
    for number in range(ROUNDS):
        if not pending and not asked:
            return outcomes
        batch = pending[: sink.max_batch] or [_due(asked, known, context, number)]
        try:
            result = await run_batch(sink, batch, context, id=f"batch-{number}")
        except RateLimited as wait:
            context.clock.advance(wait.seconds + 0.001)
            pending = pending or batch
            continue
        pending = _unsettled(batch, result.outcomes, context) + pending[len(batch) :]
        for delivery, outcome in zip(batch, result.outcomes, strict=True):
            if delivery.purpose == ERASE and not isinstance(outcome, RetryLater):
                known.pop(delivery.key, None)
        outcomes |= {delivery.id: outcome for delivery, outcome in zip(batch, result.outcomes, strict=True)}
        _settle_groups(outcomes, result, context)
        _ask(asked, result, context)
    raise AssertionError(f"not settled after {ROUNDS} calls: {len(pending)} deliveries, {sorted(asked)}")


def _unsettled(batch: Sequence[Delivery], outcomes: Sequence[Outcome], context: FakeContext) -> list[Delivery]:
    later = [(delivery, outcome) for delivery, outcome in zip(batch, outcomes, strict=True)]
    waits = [outcome.after or 1.0 for _, outcome in later if isinstance(outcome, RetryLater)]
    context.clock.advance(max(waits, default=0))
    return [
        replace(delivery, attempt=delivery.attempt + 1)
        for delivery, outcome in later
        if isinstance(outcome, RetryLater)
    ]


def _settle_groups(outcomes: dict[str, Outcome], result: Result, context: FakeContext) -> None:
    for id_, outcome in outcomes.items():
        if isinstance(outcome, Waiting):
            outcomes[id_] = result.settles.get(outcome.group, outcome)
    context.waits = Counter(each.group for each in outcomes.values() if isinstance(each, Waiting))


def _due(
    asked: dict[tuple[str, str | None, str], tuple[int, FollowUp]],
    known: Mapping[str, Interview],
    context: FakeContext,
    number: int,
) -> Delivery:
    """The follow-up that is due first, at its time."""
    at, follow_up = asked.pop(min(asked, key=lambda about: asked[about][0]))
    context.clock.advance(max(0, at - context.now()) / 1000)
    about = None if follow_up.interview is None else known.get(follow_up.interview)
    key = follow_up.interview or follow_up.subject
    return Delivery(f"follow-up-{number}", key, None, about, follow_up=replace(follow_up, after=timedelta(0)))


def _ask(asked: dict[tuple[str, str | None, str], tuple[int, FollowUp]], result: Result, context: FakeContext) -> None:
    for each in result.follow_ups:
        if each.purpose == VERIFY and each.after > REGULAR:
            continue
        due = context.now() + round(each.after.total_seconds() * 1000)
        asked.setdefault((each.purpose, each.interview, each.subject), (due, each))
