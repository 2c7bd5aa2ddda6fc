"""Decisions on an interview, which reach Hireflix exactly once also when a reply is lost or a command is repeated.

Stage and score are read first, and sent only when they differ; after a lost reply they are read again. A comment is
looked for before it is sent, and is not sent a second time when its reply was lost: an operator decides then. One
process at a time decides on an interview.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, delete

from connector.errors import ConnectorError, UsageError
from connector.hireflix.api import Fields, HireflixApi, HireflixUnavailable, QueryRefused
from connector.hireflix.fields import epoch_ms, fields_of
from connector.hireflix.snapshot import Position, Row, interview_object
from connector.interview import Stage, Value
from connector.merge import stage_of
from connector.operations.store_access import OpenStore, now_in
from connector.store import audit, leases, schema
from connector.store.schema import Action

LEASE_SECONDS = 300.0
"""A killed command blocks decisions on its interview for at most this time."""
TRIES = 4
"""Times that a stage or a score is sent."""
WAIT_SECONDS = 2.0
"""Before each look after a lost reply: the request may be applied late."""
LOOKS = 4
"""Looks for a comment after a lost reply."""
SHARE_DAYS = 365
"""Validity of a share link; Hireflix recommends at least this ("Creating a shareable link")."""
SCORES = tuple(half / 2 for half in range(1, 11))
"""0.5 to 5 in half steps ("Scoring and commenting interviews")."""
COMMENT_MAX = 5000
"""Characters of a comment. No limit is documented; a mistake should not send a whole file."""
_COMMENTS: Fields = {"id": None, "comments": {"value": None}}
_LINK: Fields = {"id": None, "externalLink": {"url": None, "expires": None}}


class Decision(StrEnum):
    """What can be decided."""

    SHORTLIST = "shortlist"
    DISCARD = "discard"
    BACK = "back"
    """Back to the stage *to evaluate*."""
    SCORE = "score"
    COMMENT = "comment"
    SHARE = "share"
    """Create a link for viewers without an account, or return the existing one."""


class Unclear(ConnectorError):
    """It is not known whether the decision reached Hireflix. The message says what to look at."""


@dataclass(frozen=True, slots=True)
class Decided:
    """The result: whether something was sent, and what Hireflix shows now. `link` is that of a share."""

    changed: bool
    stage: Stage | None = None
    score: float | None = None
    link: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A decision on an interview. `value` is a score, a comment, the reason of a discard or the days of a share."""

    interview_id: str
    decision: Decision
    value: str | None = None
    repeat: bool = False
    """Send a comment although the same text is there already."""


def require_valid(request: Request) -> None:
    """Raises `UsageError` when the value does not fit to the decision."""
    value, decision = request.value, request.decision
    if decision is Decision.SCORE:
        _score(value)
    elif decision is Decision.COMMENT and not (value or "").strip():
        raise UsageError("give the text of the comment")
    elif decision is Decision.SHARE and value is not None and not (value.isdigit() and 0 < int(value) <= 10_000):  # noqa: PLR2004
        raise UsageError("give the days that the link is valid, such as 365")
    elif decision in {Decision.SHORTLIST, Decision.BACK} and value is not None:
        raise UsageError(f"{decision} takes no value")
    if len(value or "") > COMMENT_MAX:
        raise UsageError(f"the text is longer than {COMMENT_MAX} characters")


def _score(value: str | None) -> float | None:
    """Returns the score, `None` for `none`. Raises `UsageError`."""
    if value is not None and value.lower() == "none":
        return None
    try:
        found = float(value or "")
    except ValueError:
        found = 0.0
    if found not in SCORES:
        raise UsageError("give a score from 0.5 to 5 in half steps, or none to remove it")
    return found


async def decide(
    api: HireflixApi,
    store: OpenStore,
    request: Request,
    *,
    actor: str,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> Decided:
    """Sends a decision to Hireflix, if Hireflix does not show it yet, and records it in the audit log.

    Raises `UsageError`, `Unclear` and the exceptions of `HireflixApi`.
    """
    require_valid(request)
    async with _alone(store, request.interview_id):
        decider = _Decider(api, request.interview_id, sleep)
        result = await _apply(decider, request)
        if result.changed:
            store.change(lambda connection: _record(connection, request, actor))
        return result


async def _apply(decider: _Decider, request: Request) -> Decided:
    value = request.value
    match request.decision:
        case Decision.SHORTLIST | Decision.BACK:
            return await decider.move(STAGES[request.decision])
        case Decision.DISCARD:
            noted = value is not None and await decider.comment(value, repeat=request.repeat)
            moved = await decider.move(Stage.DISCARDED)
            return Decided(moved.changed or noted, moved.stage, moved.score)
        case Decision.SCORE:
            return await decider.rate(_score(value))
        case Decision.COMMENT:
            return Decided(await decider.comment(value or "", repeat=request.repeat))
        case Decision.SHARE:
            return await decider.share(int(value or SHARE_DAYS))


STAGES: Mapping[Decision, Stage] = {
    Decision.SHORTLIST: Stage.SHORTLISTED,
    Decision.BACK: Stage.TO_EVALUATE,
}


def _record(connection: Connection, request: Request, actor: str) -> None:
    """Writes the audit row. It has no text of a comment: that may name a person."""
    shown = f" {request.value}" if request.decision is Decision.SCORE else ""
    detail = f"{request.decision}{shown}"
    audit.record(connection, actor, Action.DECIDE, request.interview_id, detail, now=now_in(connection))


@asynccontextmanager
async def _alone(store: OpenStore, interview_id: str) -> AsyncIterator[None]:
    """Holds the lease for decisions on the interview. Raises `ConnectorError` when another process holds it."""
    name, owner = f"decide:{interview_id}", secrets.token_hex(8)

    def acquire(connection: Connection) -> bool:
        leases.register_lease(connection, name)
        now = now_in(connection)
        return leases.acquire(connection, name, owner, now, seconds=LEASE_SECONDS, table=schema.lease) is not None

    if not store.change(acquire):
        raise ConnectorError("another decision on this interview is running; try again when it has ended")
    mine = (schema.lease.c.name == name, schema.lease.c.lease_owner == owner)
    try:
        yield
    finally:
        store.change(lambda connection: connection.execute(delete(schema.lease).where(*mine)))


class _Decider:
    """Reads and changes one interview."""

    def __init__(self, api: HireflixApi, interview_id: str, sleep: Callable[[float], Awaitable[None]]) -> None:
        self._api = api
        self._id = interview_id
        self._sleep = sleep

    async def move(self, wanted: Stage) -> Decided:
        """Makes `wanted` the stage. Both marks are set, so that the stage does not depend on which one is newer."""
        changed = False
        for _ in range(TRIES):
            values = await self._values()
            stage = stage_of(values)
            if stage is wanted:
                return Decided(changed, stage, _number(values))
            if wanted is Stage.TO_EVALUATE and stage is Stage.PENDING:
                raise UsageError("the candidate has not completed the interview yet, so there is nothing to take back")
            changed = True
            await self._send_all(_actions(values, wanted))
        raise Unclear(f"Hireflix does not show the stage {wanted} after {TRIES} tries; look at the interview there")

    async def rate(self, score: float | None) -> Decided:
        """Makes `score` the score of the owner of the key. The shown score is the average of the team."""
        values = await self._values()
        if _number(values) == score:
            return Decided(changed=False, stage=stage_of(values), score=score)
        for _ in range(TRIES):
            is_sent = await self._send(f"score(score: {json.dumps(score)})")
            values = await self._values()
            if is_sent or _number(values) == score:
                return Decided(changed=True, stage=stage_of(values), score=_number(values))
        raise Unclear(f"Hireflix does not show the score after {TRIES} tries; look at the interview there")

    async def comment(self, text: str, *, repeat: bool) -> bool:
        """Adds a comment, unless it is there. Returns whether it was added."""
        before = await self._count(text)
        if before and not repeat:
            return False
        if await self._send(f"comment(comment: {json.dumps(text)})"):
            return True
        for _ in range(LOOKS):
            if await self._count(text) > before:
                return True
            await self._sleep(WAIT_SECONDS)
        raise Unclear(
            "the reply of Hireflix was lost, and the comment is not there yet: look at the interview in a minute, and "
            "run the command again if it is still missing"
        )

    async def share(self, days: int) -> Decided:
        """Returns the share link, a new one if there is none that is valid."""
        found = await self._link()
        changed = False
        for _ in range(TRIES):
            if found is not None:
                return Decided(changed, link=found)
            changed = True
            await self._send(f"share(durationInDays: {days})")
            found = await self._link()
        raise Unclear("Hireflix shows no link; look at the interview there")

    async def _values(self) -> dict[str, Value]:
        row, _ = await self._api.interview(self._id)
        if row is None:
            raise UsageError(f"Hireflix has no interview {self._id}")
        if not self._api.knows_stages():
            raise Unclear("the API of Hireflix does not say in which stage an interview is; decide in Hireflix")
        fields, _ = fields_of({}, interview_object(row, Position("", "")))
        return fields

    async def _one(self, fields: Fields) -> Row:
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


def _number(values: Mapping[str, Value]) -> float | None:
    value = values.get("score")
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None
