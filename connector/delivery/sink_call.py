"""One call to a sink, with its notes, its context and its time limit. Every result and every exception of the sink
becomes a `SinkResponse`.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import structlog
from pydantic import BaseModel, SecretStr
from sqlalchemy import Connection

from connector.delivery import batches
from connector.delivery.batches import IsRouted
from connector.delivery.clock import Clock
from connector.delivery.outcomes import CallFailure, SinkResponse
from connector.errors import LeaseLost, RateLimited, SinkBroken, StoreUnavailable
from connector.http import RETRY_AFTER_MIN_SECONDS
from connector.interview import Interview
from connector.logging import HIDDEN, SECRET_TEXTS
from connector.sink import Batch, Delivery, Note, Result, Sink, Subscription, Token
from connector.store import claim, leases, notes, rate_limit, settle
from connector.store.base import Store
from connector.store.claim import Claim
from connector.store.leases import Lease
from connector.store.settle import DestinationReply
from connector.text import clean, unescaped

log = structlog.get_logger("connector.delivery")
REPLY_BYTES = 2048
"""Longest stored text, in UTF-8. An error document of Google or Slack has some hundred bytes."""
VALUE_LENGTH_MIN = 3
"""Shorter values occur in ordinary words."""
PERSONAL_FIELDS = (
    "candidate_name",
    "candidate_first_name",
    "candidate_last_name",
    "candidate_email",
    "candidate_phone",
    "thumbnail_url",
    "short_url",
    "review_url",
    "candidate_url",
    "share_url",
    "comments",
    "reviewer_scores",
    "transcript",
)


class SinkContext:
    """The `connector.sink.Context` of one call."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        lease: Lease,
        destination: str,
        on_call: Callable[[str, str], None],
        *,
        is_routed: IsRouted,
    ) -> None:
        self._store = store
        self._clock = clock
        self._lease = lease
        self._destination = destination
        self._on_call = on_call
        self._refused = False
        self._is_routed = is_routed
        self.calls = 0
        """How many calls to the destination the sink has counted."""
        self.reply: DestinationReply | None = None
        """The last reply to a call that failed."""

    def now(self) -> int:
        return self._clock.now()

    async def take(self, *wanted: Token) -> None:
        def job(connection: Connection) -> None:
            leases.require(connection, self._lease)
            rate_limit.take(connection, wanted, self._clock.in_sql())

        try:
            await self._store.write(job)
        except RateLimited:
            self._refused = True
            raise

    async def apply(self, wait: RateLimited) -> None:
        """Blocks the bucket of a `RateLimited` that the sink raised itself, so that the delivery is not due at once."""
        if not self._refused:
            await self.block(wait.bucket, max(wait.seconds, RETRY_AFTER_MIN_SECONDS))

    async def block(self, bucket: str, seconds: float) -> None:
        def job(connection: Connection) -> None:
            leases.require(connection, self._lease)
            rate_limit.block(connection, bucket, seconds, self._clock.in_sql())

        await self._store.write(job)

    async def save_notes(self, remembered: Mapping[str, Note | None]) -> None:
        def job(connection: Connection) -> None:
            leases.require(connection, self._lease)
            notes.write(connection, self._lease.sink, self._destination, remembered)

        await self._store.write(job)

    async def get_notes(self, names: Sequence[str]) -> Mapping[str, Note]:
        sink, destination = self._lease.sink, self._destination
        return await self._store.read(lambda connection: notes.read(connection, sink, destination, names))

    async def interviews(self, after: str, limit: int) -> Sequence[Subscription]:
        sink, is_routed = self._lease.sink, self._is_routed
        return await self._store.read(
            lambda connection: batches.shown_interviews(connection, sink, after, limit, is_routed)
        )

    async def waiting(self, group: str) -> int:
        sink = self._lease.sink
        return await self._store.read(lambda connection: settle.count_waiting(connection, sink, group))

    async def queued(self, events: Collection[str], limit: int) -> int:
        sink, now = self._lease.sink, self._clock.in_sql()
        return await self._store.read(lambda connection: claim.count_queued(connection, sink, events, now, limit))

    def count_call(self, kind: str) -> None:
        self.calls += 1
        self._on_call(self._lease.sink, kind)

    def record_reply(self, status: int | None, text: str) -> None:
        self.reply = DestinationReply(status, text)


class SinkCaller:
    """Opens one sink with its first call, calls it, and closes it at the end.

    `require_time` is called right before each call; it may raise `LeaseLost`. `on_call(sink, kind)` counts the calls
    that the sink makes to its destination.
    """

    def __init__(
        self,
        sink: Sink[Any],
        store: Store,
        clock: Clock,
        *,
        on_call: Callable[[str, str], None],
        is_routed: IsRouted,
        require_time: Callable[[], None],
    ) -> None:
        self._sink = sink
        self._store = store
        self._clock = clock
        self._on_call = on_call
        self._is_routed = is_routed
        self._require_time = require_time
        self._opened = False
        self._calls = 0
        self.reply: DestinationReply | None = None
        """What the destination replied when the last call failed, without secrets and personal data."""

    async def call(self, lease: Lease, claimed: Claim, deliveries: tuple[Delivery, ...]) -> SinkResponse:
        """Calls the sink. Raises `LeaseLost` and `StoreUnavailable`; any other failure becomes a response."""
        context = SinkContext(
            self._store, self._clock, lease, self._sink.destination, self._on_call, is_routed=self._is_routed
        )
        try:
            return await self._respond(context, claimed, deliveries)
        finally:
            self._calls = context.calls
            self.reply = context.reply and mask_reply(context.reply, deliveries, self._sink.config)

    @property
    def reached(self) -> bool:
        """Whether the last call reached the destination; always true for a sink that does not count its calls."""
        return self._calls > 0 or not self._sink.counts_calls

    async def _respond(self, context: SinkContext, claimed: Claim, deliveries: tuple[Delivery, ...]) -> SinkResponse:
        sink = self._sink
        try:
            batch = await self._batch(claimed, deliveries)
            async with asyncio.timeout(sink.timeout):
                await self._open()
                self._require_time()
                result = await sink.deliver(batch, context)
        except SinkBroken as error:
            return error
        except RateLimited as error:
            return await self._rate_limited(error, context)
        except (LeaseLost, StoreUnavailable):
            raise
        except TimeoutError:
            return CallFailure("timeout")
        except asyncio.CancelledError as error:
            if _is_being_cancelled():
                raise
            return self._raised(error)  # something inside the sink was cancelled, not this task
        except Exception as error:  # noqa: BLE001 - a failing sink is called again and delays no other sink
            return self._raised(error)
        return self._checked(result, claimed)

    async def close(self) -> None:
        """Closes the sink, whether or not it was opened."""
        await self._sink.close()

    async def _rate_limited(self, error: RateLimited, context: SinkContext) -> SinkResponse:
        try:
            await context.apply(error)
        except (LeaseLost, StoreUnavailable):
            raise
        except Exception as failure:  # noqa: BLE001 - the seconds of a sink may be any value, such as infinity
            return self._raised(failure)
        return error

    def _raised(self, error: BaseException) -> CallFailure:
        log.error("sink call failed", sink=self._sink.name, error=error)
        return CallFailure(f"exception {type(error).__name__}")

    def _checked(self, result: object, claimed: Claim) -> SinkResponse:
        expected = len(claimed.works)
        outcomes: object = result.outcomes if isinstance(result, Result) else None
        if isinstance(result, Result) and isinstance(outcomes, Sequence) and len(outcomes) == expected:
            return result
        log.warning("sink outcomes mismatched", sink=self._sink.name, expected=expected)
        return CallFailure("wrong number of outcomes")

    async def _open(self) -> None:
        if not self._opened:
            await self._sink.open()
            self._opened = True

    async def _batch(self, claimed: Claim, deliveries: tuple[Delivery, ...]) -> Batch:
        keys = list(dict.fromkeys(key for delivery in deliveries for key in self._sink.note_keys(delivery)))
        remembered: dict[str, Note] = {}
        if keys:
            name, destination = self._sink.name, self._sink.destination
            remembered = await self._store.read(lambda connection: notes.read(connection, name, destination, keys))
        return Batch(claimed.batch, claimed.started_at, deliveries, remembered, claimed.maybe_sent)


def _is_being_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


READ_CHARACTERS = 4 * REPLY_BYTES
"""Characters that are masked, which may shorten the text."""
_WORD = re.compile(r"[^\W\d_]+(?:['\u2019\-][^\W\d_]+)*")


def mask_reply(reply: DestinationReply, deliveries: Sequence[Delivery], config: BaseModel) -> DestinationReply:
    """Returns the reply in the form that is stored.

    Hidden are the secrets of the sink's settings, what has the form of a secret or an e-mail address, and names and
    contact data of the interviews that the deliveries are about.
    """
    text = clean(unescaped(reply.text[:READ_CHARACTERS]))
    interviews = [delivery.interview for delivery in deliveries if delivery.interview is not None]
    values = _values(interviews, config)
    for value in values:
        if value.casefold() in text.casefold():
            text = re.sub(re.escape(value), HIDDEN, text, flags=re.IGNORECASE)
    words = _words(interviews)
    text = _WORD.sub(lambda found: HIDDEN if found[0].casefold() in words else found[0], text)
    text = SECRET_TEXTS.sub(HIDDEN, text)
    if len(reply.text) > READ_CHARACTERS and values:
        text = text[: -len(values[0])]  # the end may be the start of a value
    text = " ".join(text.split())
    return DestinationReply(reply.status, text.encode()[:REPLY_BYTES].decode(errors="ignore"))


def _values(interviews: Iterable[Interview], config: BaseModel) -> list[str]:
    """Returns secrets and personal values, the longest first: one may contain another."""
    values = {*_secrets(config)}
    for interview in interviews:
        values |= {interview.text(name) for name in PERSONAL_FIELDS}
    return sorted((value for value in values if len(value) >= VALUE_LENGTH_MIN), key=len, reverse=True)


def _words(interviews: Iterable[Interview]) -> set[str]:
    """Returns the words of the candidates' names."""
    return {
        found[0].casefold()
        for interview in interviews
        for name in ("candidate_name", "candidate_first_name", "candidate_last_name")
        for found in _WORD.finditer(clean(interview.text(name)))
        if len(found[0]) >= VALUE_LENGTH_MIN
    }


def _secrets(value: Any) -> Iterator[str]:
    if isinstance(value, SecretStr):
        yield value.get_secret_value()
    elif isinstance(value, BaseModel):
        for each in value.__dict__.values():
            yield from _secrets(each)
    elif isinstance(value, dict):
        for each in value.values():
            yield from _secrets(each)
    elif isinstance(value, list | tuple | set | frozenset):
        for each in value:
            yield from _secrets(each)
