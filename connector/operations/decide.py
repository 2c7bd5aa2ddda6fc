"""Decisions on an interview, which reach Hireflix exactly once also when a reply is lost or a process is killed.

A decision is a stored request, whether a user made it by command, on the dashboard, in a sheet or in a chat. Stage and
score are read first, and sent only when they differ; after a lost reply they are read again. A comment is looked for
before it is sent, and is not sent a second time when its reply was lost: an operator decides then. One process at a
time decides on an interview.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any, Protocol, TypeVar

import structlog
from sqlalchemy import Connection, delete, select

from connector.config import Config
from connector.decision import Decision, DecisionRequest, Via, parse_score, require_valid
from connector.delivery.clock import Clock
from connector.errors import ConnectorError, LeaseLost, StoreUnavailable, UsageError
from connector.hireflix.api import Fields, HireflixApi, HireflixUnavailable, KeyRefused, QueryRefused
from connector.hireflix.payload import epoch_ms, fields_of
from connector.hireflix.snapshot import ApiInterview, Position, interview_object
from connector.interview import Stage, Value, score_of
from connector.logging import place_of
from connector.merge import stage_of
from connector.store import decisions, enrichment, leases, schema
from connector.store.base import Store
from connector.store.decisions import Decided, StoredRequest
from connector.store.dialects import Now, value_of
from connector.store.erase import is_erased
from connector.store.leases import Lease
from connector.store.schema import RequestState, Sent, interview

T = TypeVar("T")
Sleep = Callable[[float], Awaitable[None]]

LEASE_SECONDS = 60.0
"""A killed process blocks decisions on its interview for at most this time."""
TRIES = 4
"""Times that a stage or a score is sent."""
WAIT_SECONDS = 2.0
"""Delay of each read after a lost reply, because the request may be applied late."""
COMMENT_READS_MAX = 4
"""Most reads for a comment after a lost reply."""
SHARE_DAYS = 365
"""Validity of a share link; Hireflix recommends at least this ("Creating a shareable link")."""
AGE_MAX_SECONDS = 86_400.0
"""A request that could not be carried out for this long is refused: its user does not expect it to happen any more."""
RETRY_FIRST_SECONDS = 15.0
"""Wait before a request is tried again; later waits are a quarter of its age."""
RETRY_MAX_SECONDS = 600.0
"""Longest wait before a request is tried again while Hireflix is unavailable."""
NO_KEY = "decisions need a key of the API of Hireflix: set CONNECTOR_HIREFLIX__API_KEY"
_ENRICHED = frozenset({Decision.COMMENT, Decision.SHARE})
"""Decisions on fields for which Hireflix sends no webhook."""
_COMMENTS: Fields = {"id": None, "comments": {"value": None}}
_LINK: Fields = {"id": None, "externalLink": {"url": None, "expires": None}}


log = structlog.get_logger("connector.decisions")


class Unclear(ConnectorError):
    """It is not known whether the decision reached Hireflix. The message says what to look at."""


class RequestStore:
    """The store of decision requests."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def write(self, job: Callable[[Connection], T]) -> T:
        """Runs a job in a transaction. Raises `StoreUnavailable`."""
        return await self._store.write(job)

    def now(self, connection: Connection) -> int:
        """Returns epoch milliseconds, by the clock of the processes that use the store."""
        return value_of(connection, self._clock.in_sql())


def ask(connection: Connection, settings: Config, request: DecisionRequest, now: int) -> StoredRequest:
    """Stores a request that is then carried out. Raises `UsageError` when it cannot be carried out.

    A command may name an interview of the account that the store does not have yet.
    """
    require_valid(request.decision, request.value)
    if settings.hireflix.api_key is None:
        raise UsageError(NO_KEY)
    known = select(interview.c.id).where(interview.c.id == request.interview_id)
    is_known = request.via is Via.COMMAND or connection.execute(known).first() is not None
    if not is_known or is_erased(connection, request.interview_id):
        raise UsageError("the interview does not exist")
    return decisions.ask(connection, request, now)


def result_of(connection: Connection, id_: int, now: Now) -> Decided:
    """Returns the result of a request. Raises `Unclear`, and `ConnectorError` with the reason when Hireflix does not
    show the decision, or not yet.
    """
    stored = decisions.get(connection, id_)
    if stored is None:
        raise ConnectorError("the interview was erased, so the decision is not carried out")
    match stored.state:
        case RequestState.DONE:
            return stored.result or Decided(changed=False)
        case RequestState.UNCLEAR:
            raise Unclear(f"{stored.reason}; `connector hireflix decisions` lists the decision")
        case RequestState.REFUSED:
            raise ConnectorError(stored.reason)
        case RequestState.DROPPED:
            raise ConnectorError("an operator dropped the decision")
        case RequestState.HELD:
            raise ConnectorError(f"{stored.reason}; `connector hireflix decisions` lists the decision")
        case RequestState.WAITING:
            reason = stored.reason or f"the decision waits for {decisions.waits_for(connection, stored, now)}"
            raise ConnectorError(f"{reason}; it is kept, and the service tries it for a day at most")


def answer(connection: Connection, ids: Iterable[int], *, do: bool, actor: str, now: int) -> list[StoredRequest]:
    """Lets the service carry out requests that wait for an operator, or drops them. Returns those that still waited.

    `actor` is who answers, for the audit log.
    """
    answered = (decisions.answer(connection, id_, do=do, actor=actor, now=now) for id_ in ids)
    return [each for each in answered if each is not None]


class Busy(ConnectorError):
    """Another process decides on the interview."""


class OnRead(Protocol):
    """Gets an interview of the API, the time of Hireflix before it was read, and whether the decision changed it."""

    def __call__(self, row: ApiInterview, at: int, *, is_new: bool) -> Awaitable[object]: ...


async def carry_out(
    api: HireflixApi,
    request_store: RequestStore,
    id_: int,
    interview_id: str,
    *,
    owner: str,
    on_read: OnRead,
    sleep: Sleep = asyncio.sleep,
) -> None:
    """Carries out a waiting request, if it still waits, and stores the result.

    `owner` names the process. `on_read` gets the interview as Hireflix shows it after a decision on its stage or score,
    before the result is stored. Raises `Busy`, `StoreUnavailable` and `LeaseLost`.
    """
    async with _leased(request_store, interview_id, owner) as lease:
        stored = await request_store.write(lambda connection: _waiting(connection, id_))
        if stored is not None:
            await _carry_out(_Run(api, request_store, stored, lease, sleep), stored, on_read)


def _waiting(connection: Connection, id_: int) -> StoredRequest | None:
    """Returns a request that still waits. It is deleted when its interview was erased before it was stored."""
    stored = decisions.get(connection, id_)
    if stored is None or stored.state is not RequestState.WAITING:
        return None
    if is_erased(connection, stored.interview_id):
        decisions.forget(connection, stored.interview_id)
        return None
    return stored


async def _carry_out(run: _Run, stored: StoredRequest, on_read: OnRead) -> None:
    """Carries out a waiting request, and stores the result. Raises `StoreUnavailable` and `LeaseLost`."""
    try:
        require_valid(stored.decision, stored.value)
        decided = await run.apply()
    except Unclear as error:
        await run.conclude(RequestState.UNCLEAR, reason=str(error))
    except HireflixUnavailable as error:
        await run.put_off(f"{error.summary}; it is tried again later")
    except KeyRefused as error:
        await run.put_off(str(error))
    except (LeaseLost, StoreUnavailable):
        raise
    except ConnectorError as error:
        await run.conclude(RequestState.REFUSED, reason=str(error))
    except Exception as error:  # noqa: BLE001 - the requests after it must not wait for it
        await run.put_off(f"the connector failed: {place_of(error)}")
    else:
        await _pass_on(run, decided, on_read)
        await run.conclude(RequestState.DONE, result=decided)


async def _pass_on(run: _Run, decided: Decided, on_read: OnRead) -> None:
    """Calls `on_read`, if the interview was read. A failure leaves the new state to the webhook or the next reconcile.

    Raises `StoreUnavailable`; the request is then carried out again, and finds nothing to send.
    """
    if run.seen is None:
        return
    try:
        await on_read(*run.seen, is_new=decided.changed)
    except StoreUnavailable:
        raise
    except Exception as error:  # noqa: BLE001 - the decision is in Hireflix
        log.warning("state after a decision not stored", error=place_of(error))


@asynccontextmanager
async def _leased(request_store: RequestStore, interview_id: str, owner: str) -> AsyncIterator[Lease]:
    """Holds the lease for decisions on the interview. Raises `Busy` when another process holds it."""
    name = f"{decisions.LEASE}{interview_id}"

    def acquire(connection: Connection) -> Lease | None:
        leases.register_lease(connection, name)
        now = request_store.now(connection)
        return leases.acquire(connection, name, owner, now, seconds=LEASE_SECONDS, table=schema.lease)

    lease = await request_store.write(acquire)
    if lease is None:
        raise Busy("another decision on this interview is running; try again when it has ended")
    renewing = asyncio.create_task(_renew(request_store, lease))
    mine = (schema.lease.c.name == name, schema.lease.c.lease_owner == owner, schema.lease.c.fence == lease.fence)
    try:
        yield lease
    finally:
        renewing.cancel()
        await asyncio.wait([renewing])
        with suppress(StoreUnavailable):
            await request_store.write(lambda connection: connection.execute(delete(schema.lease).where(*mine)))


async def _renew(request_store: RequestStore, lease: Lease) -> None:
    """Renews the lease until it is lost. What is sent or stored without it is refused, see `_Run`."""
    while True:
        await asyncio.sleep(LEASE_SECONDS / 3)
        with suppress(StoreUnavailable):
            try:
                await request_store.write(
                    lambda connection: leases.renew(connection, lease, request_store.now(connection), LEASE_SECONDS)
                )
            except LeaseLost:
                return


class _Run:
    """Carries out one request while its process has the lease of the interview."""

    def __init__(
        self, api: HireflixApi, request_store: RequestStore, stored: StoredRequest, lease: Lease, sleep: Sleep
    ) -> None:
        self._request_store = request_store
        self._stored = stored
        self._lease = lease
        self._is_marked = stored.sent is Sent.MAYBE
        self._decider = _Decider(api, stored, self._mark_sent, sleep)
        self._applied: Decision | None = None
        """The part of the decision that reached Hireflix before a later part was refused."""

    @property
    def is_sent(self) -> bool:
        """Whether the decision may have been sent, now or before."""
        return self._is_marked or self._stored.sent is not Sent.NO

    @property
    def seen(self) -> tuple[ApiInterview, int] | None:
        """The interview as Hireflix showed it last, and the time of Hireflix before that; `None` if it was not read."""
        return self._decider.seen

    async def apply(self) -> Decided:
        """Makes Hireflix show the decision."""
        value, decider = self._stored.value, self._decider
        match self._stored.decision:
            case Decision.SHORTLIST | Decision.BACK:
                return await decider.move(STAGES[self._stored.decision])
            case Decision.DISCARD:
                noted = value is not None and await decider.comment(value)
                self._applied = Decision.COMMENT if noted else None
                moved = await decider.move(Stage.DISCARDED)
                return Decided(moved.changed or noted, moved.stage, moved.score)
            case Decision.SCORE:
                return await decider.rate(parse_score(value))
            case Decision.COMMENT:
                return Decided(await decider.comment(value or ""))
            case Decision.SHARE:
                return await decider.share(int(value or SHARE_DAYS))

    async def conclude(self, state: RequestState, *, reason: str = "", result: Decided | None = None) -> None:
        """Stores the result of the request."""
        applied = self._applied if state is RequestState.REFUSED else None

        def job(connection: Connection) -> None:
            now = self._request_store.now(connection)
            decisions.conclude(
                connection, self._stored.id, state, now=now, reason=reason, result=result, applied=applied
            )
            if result is not None and result.changed and self._stored.decision in _ENRICHED:
                enrichment.read_soon(connection, self._stored.interview_id, now)

        await self._write(job)
        write = log.warning if state is RequestState.UNCLEAR else log.info
        write("decision ended", decision=str(self._stored.decision), via=self._stored.via, state=str(state))

    async def put_off(self, reason: str) -> None:
        """Tries the request again later, or gives it up when its user waited for too long."""

        def job(connection: Connection) -> None:
            now, request = self._request_store.now(connection), self._stored
            age_seconds = (now - request.requested_at) / 1000
            if age_seconds > AGE_MAX_SECONDS:
                state = RequestState.UNCLEAR if self.is_sent else RequestState.REFUSED
                decisions.conclude(connection, request.id, state, now=now, reason=reason)
                return
            seconds = min(RETRY_MAX_SECONDS, max(RETRY_FIRST_SECONDS, age_seconds / 4))
            decisions.put_off(connection, request.id, reason, now + int(seconds * 1000), now=now)

        await self._write(job)
        log.warning("decision put off", decision=str(self._stored.decision), reason=reason)

    async def _mark_sent(self) -> None:
        """Stores, before something is sent, that it may be. Raises `LeaseLost`."""
        if self._is_marked:
            return
        if not await self._write(lambda connection: decisions.mark_sent(connection, self._stored.id)):
            raise UsageError("the request was deleted meanwhile")
        self._is_marked = True

    async def _write(self, job: Callable[[Connection], T]) -> T:
        def checked(connection: Connection) -> T:
            leases.require(connection, self._lease)
            return job(connection)

        return await self._request_store.write(checked)


STAGES: Mapping[Decision, Stage] = {
    Decision.SHORTLIST: Stage.SHORTLISTED,
    Decision.BACK: Stage.TO_EVALUATE,
}


class _Decider:
    """Reads and changes one interview. `mark_sent` is called before each change."""

    def __init__(
        self, api: HireflixApi, stored: StoredRequest, mark_sent: Callable[[], Awaitable[None]], sleep: Sleep
    ) -> None:
        self._api = api
        self._id = stored.interview_id
        self._repeat = stored.repeat
        self._sent_before = stored.sent
        self._mark_sent = mark_sent
        self._sleep = sleep
        self.seen: tuple[ApiInterview, int] | None = None
        """The last read of the interview with its stage and score."""

    @property
    def _was_sent(self) -> bool:
        """Whether an earlier run may have sent it: then what Hireflix shows already counts as changed by it."""
        return self._sent_before is not Sent.NO

    async def move(self, wanted: Stage) -> Decided:
        """Makes `wanted` the stage. Both marks are set, so that the stage does not depend on which one is newer."""
        changed = self._was_sent
        for _ in range(TRIES):
            values = await self._values()
            stage = stage_of(values)
            if stage is wanted:
                return Decided(changed, stage, score_of(values))
            if wanted is Stage.TO_EVALUATE and stage is Stage.PENDING:
                raise UsageError("the candidate has not completed the interview yet, so there is nothing to take back")
            changed = True
            await self._send_all(_actions(values, wanted))
        raise Unclear(f"Hireflix does not show the stage {wanted} after {TRIES} tries; look at the interview there")

    async def rate(self, score: float | None) -> Decided:
        """Makes `score` the score of the owner of the key. The shown score is the average of the team."""
        values = await self._values()
        if score_of(values) == score:
            return Decided(self._was_sent, stage_of(values), score)
        for _ in range(TRIES):
            is_sent = await self._send(f"score(score: {json.dumps(score)})")
            values = await self._values()
            if is_sent or score_of(values) == score:
                return Decided(changed=True, stage=stage_of(values), score=score_of(values))
        raise Unclear(f"Hireflix does not show the score after {TRIES} tries; look at the interview there")

    async def comment(self, text: str) -> bool:
        """Adds a comment, unless it is there. Returns whether this request added it."""
        if self._sent_before is Sent.MAYBE:
            await self._find(text, 0)
            return True
        before = await self._count(text)
        if before and not self._repeat:
            return self._was_sent
        if await self._send(f"comment(comment: {json.dumps(text)})"):
            return True
        await self._find(text, before)
        return True

    async def _find(self, text: str, before: int) -> None:
        """Looks for a comment that may have been sent. Raises `Unclear` when it is not there."""
        is_countable = not (self._repeat and self._sent_before is Sent.MAYBE)
        for _ in range(COMMENT_READS_MAX if is_countable else 0):
            if await self._count(text) > before:
                return
            await self._sleep(WAIT_SECONDS)
        raise Unclear(
            "the reply of Hireflix was lost, and the comment is not there yet: look at the interview in a minute, and "
            "decide again if it is still missing"
        )

    async def share(self, days: int) -> Decided:
        """Returns the share link, a new one if there is none that is valid."""
        found = await self._link()
        changed = self._was_sent
        for _ in range(TRIES):
            if found is not None:
                return Decided(changed, link=found)
            changed = True
            await self._send(f"share(durationInDays: {days})")
            found = await self._link()
        raise Unclear("Hireflix shows no link; look at the interview there")

    async def _values(self) -> dict[str, Value]:
        row, at = await self._api.interview(self._id)
        if row is None:
            raise UsageError(f"Hireflix has no interview {self._id}")
        if not self._api.knows_stages():
            raise Unclear("the API of Hireflix does not say in which stage an interview is; decide in Hireflix")
        self.seen = (row, at)
        fields, _ = fields_of({}, interview_object(row, Position("", "")))
        return fields

    async def _one(self, fields: Fields) -> ApiInterview:
        row, _ = await self._api.one("interview", fields, self._id)
        if row is None:
            raise UsageError(f"Hireflix has no interview {self._id}")
        return row

    async def _count(self, text: str) -> int:
        """Returns how often the interview has this comment. Raises `Unclear` when the API does not show comments."""
        row = await self._one(_COMMENTS)
        if "comments" not in row:
            raise Unclear("the API of Hireflix does not show comments, so a repeat could not be noticed; comment there")
        return sum(str(each.get("value", "")).strip() == text.strip() for each in row["comments"] or [])

    async def _link(self) -> str | None:
        link: dict[str, Any] = (await self._one(_LINK)).get("externalLink") or {}
        _, at = await self._api.interview(self._id)
        expires = epoch_ms(link.get("expires"))
        is_valid = expires is None or expires > at
        return str(link["url"]) if link.get("url") and is_valid else None

    async def _send_all(self, actions: list[str]) -> None:
        for action in actions:
            if not await self._send(action):
                return

    async def _send(self, action: str) -> bool:
        """Sends an action once. Returns `False`, after a wait, when its reply was lost: it may be applied."""
        await self._mark_sent()
        try:
            await self._api.act(self._id, action)
        except HireflixUnavailable:
            await self._sleep(WAIT_SECONDS)
            return False
        except QueryRefused as error:
            if error.is_missing:
                raise UsageError(f"Hireflix has no interview {self._id}") from None
            raise
        return True


def _actions(values: Mapping[str, Value], wanted: Stage) -> list[str]:
    """Returns what to send so that only the mark of the wanted stage is set."""
    marks = {"archive": (bool(values.get("archived")), wanted is Stage.DISCARDED),
             "finalist": (bool(values.get("finalist")), wanted is Stage.SHORTLISTED)}  # fmt: skip
    return [f"{name}({name}: {json.dumps(wish)})" for name, (is_set, wish) in marks.items() if is_set is not wish]
