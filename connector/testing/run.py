"""A little dispatcher for tests: asks for notes, calls the sink, commits what it answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from connector.sink import Batch, Delivery, Note, Outcome, Result, Sink
from connector.testing.context import FakeContext


def notes_for(sink: Sink[Any], deliveries: Sequence[Delivery], context: FakeContext) -> dict[str, Note]:
    """The committed notes that the sink asks for with `keys`."""
    wanted = {key for delivery in deliveries for key in sink.keys(delivery)}
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
