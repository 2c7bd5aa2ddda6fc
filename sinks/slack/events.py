"""The turn of an event: tells it, or has it wait for the digest or the next edit."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from connector.sink import (
    Delivered,
    Delivery,
    Event,
    FollowUp,
    Interview,
    Note,
    Outcome,
    Result,
    RetryLater,
    Stage,
    Superseded,
    Waiting,
)
from sinks.chat.changes import FINISH
from sinks.chat.digest import Digest
from sinks.chat.planner import Act, Plan, decide
from sinks.chat.record import Record
from sinks.slack import digests, edits, render
from sinks.slack.answers import Reply
from sinks.slack.config import SlackConfig
from sinks.slack.desk import Desk, Turn
from sinks.slack.mentions import mention_for
from sinks.slack.once import Draft, drop, reconcile, send
from sinks.slack.render import Look, Message

_LOST = frozenset({"message_not_found", "thread_not_found"})


async def tell_all(desk: Desk, turn: Turn) -> Result:
    """Tells the events of one call, each with the notes that the one before left. Only invitations come in company,
    and they make no call.
    """
    notes = await _current(turn)
    follow_ups: list[FollowUp] = []
    outcomes: list[Outcome] = []
    changed: dict[str, Note | None] = {}
    for delivery in turn.batch.deliveries:
        if delivery.interview is None:
            outcomes.append(Superseded("the interview is unknown"))
            continue
        one = Turn(replace(turn.batch, deliveries=(delivery,), notes=notes), turn.context)
        result = await tell(desk, one, delivery.interview)
        outcomes += result.outcomes
        changed |= result.notes
        notes = {key: note for key, note in {**notes, **result.notes}.items() if note is not None}
        follow_ups += result.follow_ups
    return Result(outcomes, changed, follow_ups)


async def _current(turn: Turn) -> dict[str, Note]:
    """The notes of a call; a digest's without figures of what does not wait for it any more."""
    notes = dict(turn.batch.notes)
    positions = {each.interview.position_id for each in turn.batch.deliveries if each.interview is not None}
    for position_id in sorted(positions):
        known = Digest.read(position_id, notes.get(Digest(position_id).key))
        kept = await digests.current(turn, known)
        if kept != known:
            notes[kept.key] = kept.note() or {}
    return notes


async def tell(desk: Desk, turn: Turn, interview: Interview) -> Result:
    """Does what the plan says, with one call at most."""
    record = Record.read(interview.id, turn.note(Record(interview.id).key))
    found = await reconcile(desk, turn, record, [record.edit(edits.SOON)])
    if found is not None:
        return found
    plan = plan_of(desk.config, turn.delivery, record, turn.context.now())
    look = await desk.look(turn.context)
    if plan.act is Act.NOTHING:
        return _without_call(desk, turn, record, plan, look)
    result = await send(desk, turn, record, draft_of(desk.config, plan, record, interview, look))
    return _without_thread(desk, record, result) if isinstance(result, Reply) else result


def plan_of(config: SlackConfig, delivery: Delivery, record: Record, now: int) -> Plan:
    """What the event of a delivery does now."""
    event, interview = delivery.event, delivery.interview
    assert event is not None
    assert interview is not None
    hushed = delivery.late or is_quiet(config, event, now)
    if record.invited == delivery.id:  # it was counted, and what counted it came to nothing
        record = replace(record, invited="")
    plan = decide(event, interview, record, config.events, hushed=hushed, silent=delivery.silent)
    return replace(plan, counted="") if config.digest == "off" else plan


def is_quiet(config: SlackConfig, event: Event, now: int) -> bool:
    """Whether the quiet hours hold this event back."""
    hours = config.quiet_hours
    if hours is None or (event.name == FINISH and hours.finish == "speak"):
        return False
    return hours.until(now, config.timezone) is not None


def draft_of(config: SlackConfig, plan: Plan, record: Record, interview: Interview, look: Look) -> Draft:
    """The message of a plan that has one."""
    news = plan.news
    assert news is not None
    ids = {"i": interview.id}
    mention = next(filter(None, (mention_for(config.mentions, one, interview) for one in (news.what, *news.also))), "")
    if plan.act is Act.POST:
        message = _whole(config, plan, record, interview, look)
        shown = render.content_hash(render.parent(interview, look))
        then = [record.edit(edits.SOON)] if record.editable else []
        return Draft(message, {"told": news.told, "hash": shown}, ids, mention=mention, then=then)
    loud = plan.act is Act.BROADCAST
    message = render.reply(news, interview, look, named=loud)
    said = {"told": news.told, "thread": record.ts, "named": loud}
    then = [record.edit(edits.SOON)]
    return Draft(message, said, ids, str(record.ts), loud, mention if loud else "", then)


def _whole(config: SlackConfig, plan: Plan, record: Record, interview: Interview, look: Look) -> Message:
    """The interview's message; through a webhook, which has no threads and no edits, with the news as its headline
    and with the difference in words.
    """
    assert plan.news is not None
    message = render.parent(interview, look, plan.news if config.webhook_url is not None else None)
    return render.adding(message, plan.news.change) if record.ts == "" else message


def _without_call(desk: Desk, turn: Turn, record: Record, plan: Plan, look: Look) -> Result:
    """Without a call: it waits for the digest that counts it or for an edit, unless there is nothing to show."""
    delivery, interview, now = turn.delivery, turn.delivery.interview, turn.context.now()
    assert interview is not None
    after, looks = drop(turn, record)
    follow_ups, notes = [*looks], dict[str, Note | None]()
    outcome: Outcome = Superseded(plan.why)
    is_current = desk.web is None or edits.next_edit(after, interview, look) is None
    if plan.edit and not is_current:
        soon = timedelta(0) if interview.stage is Stage.DELETED else edits.SOON
        follow_ups.append(after.edit(soon))
        outcome = Waiting(after.key, "update of its message", now + round(soon.total_seconds() * 1000))
    elif after.editable and is_current:
        outcome = Delivered(after.ts)
    if plan.counted:
        digest = _counting(turn, plan, interview)
        notes[digest.key] = digest.note()
        wait = digests.due(desk.config, now)
        follow_ups.append(digest.publishing(wait))
        outcome = Waiting(digest.key, digests.reason(desk.config, now), now + round(wait.total_seconds() * 1000))
        after = replace(after, invited=delivery.id if plan.counted == "invited" else after.invited)
    if after != record:
        notes[record.key] = after.note()
    return Result([outcome], notes, follow_ups)


def _counting(turn: Turn, plan: Plan, interview: Interview) -> Digest:
    """The digest of the interview's position with one event more."""
    assert turn.delivery.event is not None
    digest = Digest.read(interview.position_id, turn.note(Digest(interview.position_id).key))
    return digest.counting(plan.counted, interview, turn.delivery.event.occurred_at, turn.context.now())


def _without_thread(desk: Desk, record: Record, reply: Reply) -> Result:
    """The thread takes no more replies: remembered, and the event is decided anew."""
    if reply.error not in _LOST:
        after = replace(record, locked=True)
    elif desk.config.deleted_message == "replace":
        after = replace(record, ts=None, hash="")
    else:
        after = replace(record, gone=True)
    return Result([RetryLater(reply.error, after=0.0, counts=False)], {record.key: after.note()})
