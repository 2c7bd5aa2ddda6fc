"""The turn of an event: tells it, counts it in the digest, or leaves it to the next edit."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from connector.sink import Delivered, Delivery, Event, Interview, Note, Outcome, Result, RetryLater, Stage
from sinks.slack import digests, edits, render
from sinks.slack.answers import Reply
from sinks.slack.config import SlackConfig
from sinks.slack.desk import Desk, Turn, done
from sinks.slack.digest import Digest
from sinks.slack.mentions import mention_for
from sinks.slack.news import FINISH
from sinks.slack.once import Draft, drop, reconcile, send
from sinks.slack.plan import Act, Plan, decide
from sinks.slack.record import Record
from sinks.slack.render import Look, Message

_LOST = frozenset({"message_not_found", "thread_not_found"})


async def tell_all(desk: Desk, turn: Turn) -> Result:
    """Tells the events of one call, each with the notes that the one before left. Only invitations come in company,
    and they make no call.
    """
    notes = dict(turn.batch.notes)
    again: dict[str, timedelta] = {}
    outcomes: list[Outcome] = []
    changed: dict[str, Note | None] = {}
    for delivery in turn.batch.deliveries:
        if delivery.interview is None:
            outcomes.append(Delivered())
            continue
        one = Turn(replace(turn.batch, deliveries=(delivery,), notes=notes), turn.context)
        result = await tell(desk, one, delivery.interview)
        outcomes += result.outcomes
        changed |= result.notes
        notes |= {key: note for key, note in result.notes.items() if note is not None}
        again |= {key: min(after, again.get(key, after)) for key, after in result.again.items()}
    return Result(outcomes, changed, again)


async def tell(desk: Desk, turn: Turn, interview: Interview) -> Result:
    """Does what the plan says, with one call at most."""
    record = Record.read(interview.id, turn.note(Record(interview.id).key))
    found = await reconcile(desk, turn, record, {edits.key_of(record): edits.SOON})
    if found is not None:
        return found
    plan = plan_of(desk.config, turn.delivery, record, turn.context.now())
    look = await desk.look(turn.context)
    if plan.act is Act.NOTHING:
        return _silently(desk, turn, record, plan, look)
    result = await send(desk, turn, record, draft_of(desk.config, plan, record, interview, look))
    return _without_thread(desk, record, result) if isinstance(result, Reply) else result


def plan_of(config: SlackConfig, delivery: Delivery, record: Record, now: int) -> Plan:
    """What the event of a delivery does now."""
    event, interview = delivery.event, delivery.interview
    assert event is not None
    assert interview is not None
    hushed = delivery.late or is_quiet(config, event, now)
    plan = decide(event, interview, record, config.events, hushed=hushed)
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
        then = {edits.key_of(record): edits.SOON} if record.editable else {}
        return Draft(message, {"told": news.told, "hash": shown}, ids, mention=mention, then=then)
    loud = plan.act is Act.BROADCAST
    message = render.reply(news, interview, look, named=loud)
    said = {"told": news.told, "thread": record.ts, "named": loud}
    then = {edits.key_of(record): edits.SOON}
    return Draft(message, said, ids, str(record.ts), loud, mention if loud else "", then)


def _whole(config: SlackConfig, plan: Plan, record: Record, interview: Interview, look: Look) -> Message:
    """The interview's message; through a webhook, which has no threads and no edits, with the news as its headline
    and with the difference in words.
    """
    assert plan.news is not None
    message = render.parent(interview, look, plan.news if config.webhook_url is not None else None)
    return render.adding(message, plan.news.change) if record.ts == "" else message


def _silently(desk: Desk, turn: Turn, record: Record, plan: Plan, look: Look) -> Result:
    """Without a call: the digest's figure and the notes are written with the outcome, the edit is asked for."""
    event, interview = turn.delivery.event, turn.delivery.interview
    assert event is not None
    assert interview is not None
    after, looks = drop(turn, record)
    again = dict(looks)
    notes: dict[str, Note | None] = {}
    if plan.counted:
        now = turn.context.now()
        digest = Digest.read(interview.position_id, turn.note(Digest(interview.position_id).key))
        notes[digest.key] = digest.counting(plan.counted, interview, event.occurred_at, now).note()
        again[digests.key_of(digest)] = digests.due(desk.config, now)
        after = replace(after, invited=after.invited or plan.counted == "invited")
    if after != record:
        notes[record.key] = after.note()
    if plan.edit and desk.web is not None and edits.next_edit(after, interview, look) is not None:
        again[edits.key_of(record)] = timedelta(0) if interview.stage is Stage.DELETED else edits.SOON
    return done(notes, again)


def _without_thread(desk: Desk, record: Record, reply: Reply) -> Result:
    """The thread takes no more replies: remembered, and the event is decided anew."""
    if reply.error not in _LOST:
        after = replace(record, locked=True)
    elif desk.config.deleted_message == "replace":
        after = replace(record, ts=None, hash="")
    else:
        after = replace(record, gone=True)
    return Result([RetryLater(reply.error, after=0.0, counts=False)], {record.key: after.note()})
