"""Reads fields that only the API of Hireflix has, and stores them as synthetic events.

It runs in the background, and reads a limited number of interviews per minute. A link to the video is created only
when `share_url` is chosen and the interview has no valid link.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Collection

import structlog

from connector.delivery.periodic import Counts
from connector.errors import StoreUnavailable
from connector.hireflix import EnrichedField
from connector.hireflix.api import ActionRefused, HireflixApi, HireflixUnavailable, KeyRefused, QueryRefused
from connector.hireflix.enrichment import DAY_MS, enriched, needs_link, next_look, selection_of
from connector.hireflix.payload import epoch_ms
from connector.hireflix.snapshot import ApiInterview, enrichment_of
from connector.interview import Value
from connector.logging import place_of
from connector.merge import merge
from connector.operations.source import SyntheticEventStore
from connector.store import enrichment as work
from connector.store.enrichment import EnrichmentDue

log = structlog.get_logger("connector.source")


class Enrichment:
    """Reads `fields` of the interviews that are due. `now` returns epoch milliseconds.

    Raises the exceptions of `HireflixApi` and `StoreUnavailable`; interviews read before are stored.
    """

    def __init__(
        self,
        api: HireflixApi,
        store: SyntheticEventStore,
        now: Callable[[], int],
        fields: Collection[EnrichedField],
        *,
        share_days: int,
    ) -> None:
        self._api = api
        self._store = store
        self._now = now
        self._fields = frozenset(fields)
        self._share_days = share_days
        self._selection = selection_of(self._fields)

    async def run(self, limit: int, stopping: asyncio.Event) -> Counts:
        """Reads at most `limit` interviews. Returns the numbers of those that were read and that changed."""
        while await self._store.write(lambda connection: work.collect(connection, self._fields, self._now())):
            if stopping.is_set():
                break
        await self._store.write(lambda connection: work.forget_gone(connection, self._now()))
        counts = Counter[str](read=0, changed=0)
        for due in await self._store.query(lambda connection: work.due(connection, self._now(), limit)):
            if stopping.is_set():
                break
            counts["changed"] += await self._read(due)
            counts["read"] += 1
        return counts

    async def _read(self, due: EnrichmentDue) -> bool:
        """Reads one interview. After a failure it is read again a day later. Returns whether its fields changed."""
        try:
            return await self._read_now(due)
        except (KeyRefused, HireflixUnavailable, StoreUnavailable):
            raise
        except QueryRefused as error:
            reason = str(error)
        except Exception as error:  # noqa: BLE001 - the others may be readable
            reason = place_of(error)
        log.warning("interview not readable", interview=due.id, reason=reason)
        await self._schedule(due.id, self._now() + DAY_MS)
        return False

    async def _read_now(self, due: EnrichmentDue) -> bool:
        row, at = await self._api.one("interview", self._selection, due.id)
        look: int | None = None
        event = None
        if row is not None:
            row = await self._with_link(due.id, row)
            event = enrichment_of(due.state, due.id, enriched(row, self._fields), at=at, received_at=self._now())
            if event is not None:
                await self._store.offer(event.reading, event.body)
            state = due.state if event is None else merge(due.state, event.reading)
            look = next_look(state.values, self._fields, finished_at=_finished_at(state.values, at), now=self._now())
        await self._schedule(due.id, look)
        return event is not None

    async def _schedule(self, interview_id: str, at: int | None) -> None:
        await self._store.write(lambda connection: work.schedule(connection, {interview_id: at}))

    async def _with_link(self, interview_id: str, row: ApiInterview) -> ApiInterview:
        """Returns the interview with a valid link to its video, which is created or renewed if necessary."""
        if EnrichedField.SHARE_URL not in self._fields or not needs_link(row, self._now()):
            return row
        try:
            shared = await self._api.act(
                interview_id, f"share(durationInDays: {self._share_days})", "{ id externalLink { url expires } }"
            )
        except (ActionRefused, QueryRefused) as error:
            # the message of an action is for users, and may name the candidate
            reason = error.name if isinstance(error, ActionRefused) else str(error)
            log.warning("video link refused", interview=interview_id, reason=reason)
            return row
        return {**row, "externalLink": shared.get("externalLink")}


def _finished_at(values: dict[str, Value], read_at: int) -> int:
    """Returns when the candidate finished; without a date, a day before the reading."""
    dates = (epoch_ms(values.get(name)) for name in ("finished_at", "completed"))
    return next((date for date in dates if date is not None), read_at - DAY_MS)
