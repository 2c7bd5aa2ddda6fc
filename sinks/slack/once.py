"""Posting exactly once, as far as Slack allows: it has no idempotency key for apps, but it shows our metadata.

What a call says is remembered before it is made. When its answer is lost, the message is looked for by its key before
anything is decided; only where it is not found is it sent again. A request may be carried out long after we gave it
up, so after a second sending a *second look* a minute later removes our double.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol, Self, TypeVar

from connector.sink import Context, Delivered, FollowUp, Note, Outcome, RateLimited, Result, RetryLater
from sinks.slack.answers import Kind, Reply
from sinks.slack.desk import Desk, Turn, dead, done, is_refused, needless
from sinks.slack.lookup import Match
from sinks.slack.render import Message, mentioning, metadata, plainly

SETTLING = 3_000
"""Milliseconds after which a posted message surely shows in the channel's history."""
SECOND_LOOK = timedelta(seconds=60)
FIND_DOUBLES = "find-doubles"
"""Purpose of the call that looks for doubles a second time."""


class Ledger(Protocol):
    """A note that a message belongs to.

    `intent` is the call under way: the delivery's id `k`, when it was made `at` (epoch milliseconds), the `thread`,
    what was `said` by each call that may have been carried out, the error `plain` for which Slack refused the blocks,
    and the `mention`. `dups` are messages that may come to stand there twice: the id `k`, the timestamp `ts` that
    stays (`""` = none may), the `thread`, the first call `since` and when to look `at`.
    """

    @property
    def key(self) -> str: ...
    @property
    def intent(self) -> Mapping[str, Any]: ...
    @property
    def dups(self) -> Sequence[Mapping[str, Any]]: ...
    def intending(self, intent: Mapping[str, Any]) -> Self: ...
    def doubting(self, dups: Sequence[Mapping[str, Any]]) -> Self: ...
    def sent(self, ts: str, said: Mapping[str, Any]) -> Self: ...
    def follow_up(self, purpose: str, after: timedelta) -> FollowUp: ...
    def settled(self, ts: str) -> Mapping[str, Delivered]: ...
    def note(self) -> Note | None: ...


LedgerT = TypeVar("LedgerT", bound=Ledger)


@dataclass(frozen=True, slots=True)
class Draft:
    """A message to be sent. `said` is what its ledger learns from it, `ids` what its metadata carries besides the key,
    `then` the follow-ups to ask for once it is out.
    """

    message: Message
    said: Mapping[str, Any]
    ids: Mapping[str, str]
    thread: str = ""
    broadcast: bool = False
    mention: str = ""
    then: Sequence[FollowUp] = ()


async def send(desk: Desk, turn: Turn, ledger: Ledger, draft: Draft) -> Result | Reply:
    """Posts the draft under the delivery's id. Gives Slack's reply when the thread is gone: then nothing was sent."""
    before = _intent_of(turn, ledger)
    await turn.context.take(*desk.rates.post)
    mention = before.get("mention") or await _may_mention(desk, draft.mention, turn.context)
    intent = {
        "k": turn.delivery.id,
        "at": turn.context.now(),
        "thread": draft.thread,
        "said": [*before.get("said", ()), dict(draft.said)],
        "plain": before.get("plain", ""),
        "mention": mention,
    }
    if desk.web is not None:
        await turn.context.save_notes({ledger.key: ledger.intending(intent).note()})
    message = _message(draft, intent)
    reply = await desk.post(message, turn.context, draft.thread, broadcast=draft.broadcast)
    if reply.kind is Kind.GONE:
        return reply
    if reply.kind is Kind.OK:
        sent = Match(str(reply.data.get("ts", "")), len(intent["said"]))
        return _settled(turn, ledger, sent, intent, then=draft.then)
    return await _not_sent(desk, turn, ledger, reply, {**intent, "said": list(before.get("said", ()))})


async def reconcile(desk: Desk, turn: Turn, ledger: Ledger, then: Sequence[FollowUp]) -> Result | None:
    """What an earlier call of this delivery left in the channel, or the wish to look later; `None` when it left
    nothing, or Slack does not let us look.
    """
    intent = _intent_of(turn, ledger)
    if not turn.batch.maybe_sent or desk.web is None or not intent.get("said"):
        return None
    too_early = intent["at"] + SETTLING - turn.context.now()
    if too_early > 0:
        return Result([RetryLater("settling", after=too_early / 1000, counts=False, unclear=True)])
    found = await desk.find(turn.delivery.id, turn.batch.started_at, intent["thread"], turn.context)
    if found.all:
        return _settled(turn, ledger, found.all[0], intent, then=then)
    trouble = await _troubled(desk, turn, found.trouble, intent["thread"])
    return None if trouble is None else Result([trouble])


def drop(turn: Turn, ledger: LedgerT) -> tuple[LedgerT, Sequence[FollowUp]]:
    """After a look that found nothing, when there is nothing to say any more: what arrives late must go again."""
    intent = _intent_of(turn, ledger)
    if not intent:
        return ledger, ()
    if not (turn.batch.maybe_sent and intent.get("said")):
        return ledger.intending({}), ()
    doubted = ledger.doubting([*ledger.dups, _dup(turn, "", intent)])
    return doubted.intending({}), [ledger.follow_up(FIND_DOUBLES, SECOND_LOOK)]


async def look_again(desk: Desk, turn: Turn, ledger: Ledger) -> Result:
    """The second look: removes one message of ours that stands twice, and asks for another turn if more may."""
    if not ledger.dups or desk.web is None:
        return needless("nothing to look for")
    first, *others = ledger.dups
    early = first["at"] - turn.context.now()
    if early > 0:
        return needless("too early", {}, [ledger.follow_up(FIND_DOUBLES, timedelta(milliseconds=early))])
    found = await desk.find(first["k"], first["since"], first["thread"], turn.context)
    trouble = await _troubled(desk, turn, found.trouble, first["thread"])
    if trouble is not None:
        return Result([trouble])
    doubles = [match.ts for match in found.all if match.ts != first["ts"]]
    if doubles:
        reply = await desk.delete(doubles[-1], turn.context)
        if reply.kind not in {Kind.OK, Kind.GONE}:
            return Result([await desk.not_now(reply, desk.rates.delete, turn.context)])
    left = [first, *others] if len(doubles) > 1 else others
    more = [ledger.follow_up(FIND_DOUBLES, timedelta(0))] if left else ()
    return done({ledger.key: ledger.doubting(left).note()}, more)


def _intent_of(turn: Turn, ledger: Ledger) -> Mapping[str, Any]:
    """What an earlier call of this very delivery remembered."""
    return ledger.intent if ledger.intent.get("k") == turn.delivery.id else {}


def _message(draft: Draft, intent: Mapping[str, Any]) -> Message:
    plain = str(intent["plain"])
    message = {**draft.message, **metadata(intent["k"], len(intent["said"]), **draft.ids)}
    return mentioning(plainly(message, plain) if plain else message, str(intent["mention"]))


async def _may_mention(desk: Desk, token: str, context: Context) -> str:
    """The mention, unless there was one in the last minute."""
    if not token:
        return ""
    try:
        await context.take(desk.rates.mention)
    except RateLimited:
        return ""
    return token


def _settled(
    turn: Turn, ledger: Ledger, match: Match, intent: Mapping[str, Any], *, then: Sequence[FollowUp]
) -> Result:
    """`match` stands there. When it was not the only call, another may show up: then it goes, whatever it said."""
    said = intent["said"]
    after = ledger.sent(match.ts, said[min(max(match.call, 1), len(said)) - 1])
    more = [*then]
    if len(said) > 1 and match.ts:
        after = after.doubting([*after.dups, _dup(turn, match.ts, intent)])
        more.append(ledger.follow_up(FIND_DOUBLES, SECOND_LOOK))
    return done({ledger.key: after.note()}, more, reference=match.ts, settles=after.settled(match.ts))


def _dup(turn: Turn, ts: str, intent: Mapping[str, Any]) -> Mapping[str, Any]:
    at = turn.context.now() + round(SECOND_LOOK.total_seconds() * 1000)
    return {"k": intent["k"], "ts": ts, "thread": intent["thread"], "since": turn.batch.started_at, "at": at}


async def _not_sent(desk: Desk, turn: Turn, ledger: Ledger, reply: Reply, intent: Mapping[str, Any]) -> Result:
    """`intent` is without this call, which was not carried out unless its answer says nothing."""
    if is_refused(reply, turn.delivery.attempt):
        if intent["plain"]:
            return dead(reply, {ledger.key: ledger.intending({}).note()})
        note = ledger.intending({**intent, "plain": reply.error}).note()
        return Result([RetryLater(reply.error, after=1.0)], {ledger.key: note})
    outcome = await desk.not_now(reply, desk.rates.post, turn.context)
    if isinstance(outcome, RetryLater) and outcome.unclear:
        return Result([outcome])
    return Result([outcome], {ledger.key: ledger.intending(intent).note()})


async def _troubled(desk: Desk, turn: Turn, trouble: Reply | None, thread: str) -> Outcome | None:
    """The wish to look later, when Slack may let us then."""
    if trouble is None or trouble.kind not in {Kind.THROTTLED, Kind.TRANSIENT, Kind.UNCLEAR}:
        return None
    outcome = await desk.not_now(trouble, desk.rates.look(thread), turn.context, unclear=turn.batch.maybe_sent)
    assert isinstance(outcome, RetryLater)
    return RetryLater(f"look-up: {outcome.reason}", outcome.after, counts=outcome.counts, unclear=turn.batch.maybe_sent)
