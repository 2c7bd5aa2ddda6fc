"""Adds the differences between the API of Hireflix and a store as synthetic events, for backfill and reconcile."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import Any, Protocol, TypeVar

from sqlalchemy import Connection

from connector.config import Config
from connector.errors import UsageError
from connector.hireflix.api import STAGES, TRIES, HireflixApi, HireflixError, InterviewPage
from connector.hireflix.payload import EventKind, Reading
from connector.hireflix.snapshot import (
    ApiInterview,
    Origin,
    Position,
    Synthetic,
    changed_at,
    deletion_of,
    event_for,
    id_of,
)
from connector.http import RETRY_AFTER_MAX_SECONDS
from connector.interview import Stage
from connector.routing import Route, Routes
from connector.sink import Finding
from connector.store import position_names, source
from connector.store.base import IngestResult

ASKING_TRIES = 2
"""Tries of a query while a user waits."""
PATIENCE_SECONDS = 5.0
"""A user does not wait for a longer time that Hireflix asks for."""
T = TypeVar("T")


class SyntheticEventStore(Protocol):
    """The part of `connector.store.base.Store` that takes synthetic events."""

    def offer(self, reading: Reading, body: bytes) -> asyncio.Future[IngestResult]: ...

    async def write(self, job: Callable[[Connection], T]) -> T: ...

    async def query(self, query: Callable[[Connection], T]) -> T: ...


class OtherAccount(HireflixError):
    """The API key belongs to an account without any of the stored positions."""


def open_api(settings: Config, *, tries: int = TRIES, patience_seconds: float = RETRY_AFTER_MAX_SECONDS) -> HireflixApi:
    """Returns a client for the configured key, see `HireflixApi`. Raises `UsageError` without a key."""
    hireflix = settings.hireflix
    if hireflix.api_key is None:
        raise UsageError(
            "hireflix.api_key is missing: create a key as an administrator under My account, API keys "
            "(https://admin.hireflix.com/en/my-account/api-keys), and set CONNECTOR_HIREFLIX__API_KEY"
        )
    key = hireflix.api_key.get_secret_value()
    return HireflixApi(key, hireflix.api_url, tries=tries, patience_seconds=patience_seconds)


def open_api_for_user(settings: Config) -> HireflixApi:
    """Returns a client that gives up soon, because a user waits, who reads the reason and can ask again.

    Raises `UsageError` without a key.
    """
    return open_api(settings, tries=ASKING_TRIES, patience_seconds=PATIENCE_SECONDS)


async def check_api(settings: Config) -> list[Finding]:
    """Asks Hireflix with the configured key, for `connector check --online`; nothing without a key."""
    if settings.hireflix.api_key is None:
        return []
    try:
        async with open_api_for_user(settings) as api:
            positions = await api.positions()
    except HireflixError as error:
        return [Finding("problem", "the API cannot be used", str(error))]
    return [Finding("ok", f"the API key works; {len(positions)} positions")]


class SourceReader:
    """Compares the API with a store, and adds an event for each difference.

    `now` returns epoch milliseconds. Raises the exceptions of `HireflixApi` and `StoreUnavailable`.
    """

    def __init__(self, api: HireflixApi, store: SyntheticEventStore, now: Callable[[], int], origin: Origin) -> None:
        self.api = api
        self.store = store
        self.now = now
        self._origin = origin

    async def positions(self) -> list[Position]:
        """Returns the positions of the account, and stores their names. Raises `OtherAccount`."""
        at = self.now()
        listed = await self.api.positions()
        await self._require_same_account(listed)
        await self.store.write(lambda connection: position_names.learn(connection, listed, at))
        return listed

    async def pages(
        self, position: Position, cursor: str | None = None
    ) -> AsyncIterator[tuple[InterviewPage, Stage | None]]:
        """Yields the pages of a position, with the stage when it is only known from the filter of the listing."""
        if self.api.knows_stages():
            async for page in self.api.pages(position.id, cursor=cursor):
                if not self.api.knows_stages():
                    break
                yield page, None
            else:
                return
        for stage in STAGES:
            async for page in self.api.pages(position.id, stage=stage):
                yield page, stage

    async def take(
        self, position: Position, page: InterviewPage, stage: Stage | None = None, *, settled_before: int | None = None
    ) -> Counter[str]:
        """Adds the events for a page. Returns their numbers by difference; an event counts once, by its first one.

        A row that changed at or after `settled_before` is left out: its webhook may be on its way.
        """
        ids = [id_of(row) for row in page.rows]
        known, erased = await self.store.query(lambda connection: source.states(connection, ids))
        events = []
        for id_, row in zip(ids, page.rows, strict=True):
            is_fresh = settled_before is not None and (changed_at(row) or 0) >= settled_before
            if not id_ or id_ in erased or is_fresh:
                continue
            found = event_for(
                known.get(id_), row, position, at=page.at, received_at=self.now(), origin=self._origin, stage=stage
            )
            if found is not None:
                events.append(found)
        return await self._add(events)

    async def refresh(self, row: ApiInterview, at: int, *, is_new: bool) -> None:
        """Adds the event that makes a stored interview equal to `row`, which was read at `at`, see `event_for`."""
        id_ = id_of(row)
        known, erased = await self.store.query(lambda connection: source.states(connection, [id_]))
        if id_ in erased or id_ not in known:
            return
        values = known[id_].values
        position = Position(str(values.get("position_id") or ""), str(values.get("position_name") or ""))
        found = event_for(known[id_], row, position, at=at, received_at=self.now(), origin=self._origin, is_new=is_new)
        await self._add([found] if found is not None else [])

    async def delete(self, position: Position, ids: Iterable[str], at: int) -> int:
        """Adds the event of a deletion for each interview. Returns their number."""
        events = [deletion_of(id_, position, at=at, received_at=self.now(), origin=self._origin) for id_ in sorted(ids)]
        return (await self._add(events)).total()

    async def _add(self, events: Sequence[Synthetic]) -> Counter[str]:
        usable = [each for each in events if each.reading.kind is EventKind.EVENT]
        answers = await asyncio.gather(*(self.store.offer(each.reading, each.body) for each in usable))
        added = [each for each, answer in zip(usable, answers, strict=True) if not answer.duplicate]
        return Counter(each.differs[0] for each in added)

    async def _require_same_account(self, listed: Sequence[Position]) -> None:
        """Raises `OtherAccount` when the store has positions and Hireflix lists none of them."""
        known = {each.id for each in listed}
        stored = await self.store.query(source.counts)
        if stored and not any(id_ in known for id_ in stored):
            raise OtherAccount(
                "the API key belongs to another Hireflix account: none of the stored positions is in it; use a key of "
                "the account that sends the webhooks, or an empty store"
            )


def chosen(listed: Sequence[Position], wanted: Sequence[str] | None) -> list[Position]:
    """Returns the positions with these ids or names; a name may have * and ?. Raises `UsageError` when none matches."""
    if wanted is None:
        return list(listed)
    rule = Routes([Route(sinks=("found",), positions=tuple(wanted))], {"found": False})
    found = [each for each in listed if rule.match("", each.id, each.name, Stage.PENDING, None)]
    if not found:
        names = ", ".join(sorted(each.name for each in listed)[:10]) or "none"
        raise UsageError(f"Hireflix has no position {', '.join(wanted)}; it has: {names}")
    return found


async def put(store: SyntheticEventStore, key: str, document: Any) -> None:
    """Stores a document about the API."""
    await store.write(lambda connection: source.write(connection, key, document))
