"""The turn of an edit: brings one message of an interview up to what is known now."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta

from connector.sink import Delivered, Interview, Note, Rejected, Result, RetryLater, Stage
from sinks.chat.changes import everything
from sinks.chat.record import REPEAT_EDIT, Record
from sinks.slack import render
from sinks.slack.answers import Kind, Reply
from sinks.slack.desk import Desk, Turn, dead, done, is_refused, needless
from sinks.slack.once import Draft, reconcile, send
from sinks.slack.render import Look, Message

SOON = timedelta(seconds=3)
REPEAT = timedelta(seconds=60)
_MISSING = "message_not_found"
_DELETED = "the message was deleted in Slack"


@dataclass(frozen=True, slots=True)
class Edit:
    """One edit. `after` is the record once it is done."""

    ts: str
    message: Message
    after: Record
    is_parent: bool = False


def next_edit(record: Record, interview: Interview, look: Look, *, forced: bool = False) -> Edit | None:
    """The first message that does not show what it should; `forced`: the interview's message in any case."""
    if record.editable:
        message = render.parent(interview, look)
        shown = render.content_hash(message)
        if forced or shown != record.hash:
            return Edit(str(record.ts), message, replace(record, hash=shown, plain=""), is_parent=True)
    if record.former:
        return Edit(record.former[0], render.moved(), replace(record, former=record.former[1:]))
    if interview.stage is Stage.DELETED and record.extra:
        return Edit(record.extra[0], render.parent(interview, look), replace(record, extra=record.extra[1:]))
    return None


async def keep_current(desk: Desk, turn: Turn, interview_id: str, interview: Interview | None) -> Result:
    """Makes one edit, and asks for another turn when there is more to do; else what waited for it is settled."""
    record = Record.read(interview_id, turn.note(Record(interview_id).key))
    if interview is None or desk.web is None:
        return needless("nothing to update", group=record.key)
    look = await desk.look(turn.context)
    if record.wanted and interview.stage is not Stage.DELETED:
        return await _replace_lost(desk, turn, record, interview, look)
    repeated = turn.batch.maybe_sent
    edit = next_edit(record, interview, look, forced=repeated or turn.delivery.purpose == REPEAT_EDIT)
    if edit is None:
        return _shown(record, {}) if record.editable else needless("no message to update", group=record.key)
    message = render.plainly(edit.message, record.plain) if record.plain else edit.message
    reply = await desk.edit(edit.ts, message, turn.context)
    if reply.kind is not Kind.OK:
        return await _not_edited(desk, turn, record, edit, reply)
    more = [record.follow_up(REPEAT_EDIT, REPEAT)] if repeated and edit.is_parent else []
    notes = {record.key: edit.after.note()}
    if next_edit(edit.after, interview, look) is not None:
        return done(notes, [*more, record.edit(timedelta(0))])
    return replace(_shown(record, notes), follow_ups=more)


def _shown(record: Record, notes: dict[str, Note | None]) -> Result:
    """The messages show what is known, and so everything that waited for that."""
    shown = Delivered(record.ts or None)
    return Result([shown], notes, settles={record.key: shown})


async def _replace_lost(desk: Desk, turn: Turn, record: Record, interview: Interview, look: Look) -> Result:
    found = await reconcile(desk, turn, record, ())
    if found is not None:
        return _settling(record, found)
    message = render.parent(interview, look)
    said = {"told": everything(interview, record.told), "hash": render.content_hash(message)}
    result = await send(desk, turn, record, Draft(message, said, {"i": interview.id}))
    assert isinstance(result, Result)
    return _settling(record, result)


def _settling(record: Record, result: Result) -> Result:
    """With what waits for an edit, once the message was made anew."""
    (outcome,) = result.outcomes
    return replace(result, settles={record.key: outcome}) if isinstance(outcome, Delivered) else result


async def _not_edited(desk: Desk, turn: Turn, record: Record, edit: Edit, reply: Reply) -> Result:
    if reply.kind is Kind.GONE:
        return _lost(desk, record, edit, reply, deleted=_is_deleted(turn))
    if is_refused(reply, turn.delivery.attempt):
        if record.plain:
            return dead(reply, {record.key: edit.after.note()})
        note = replace(record, plain=reply.error).note()
        return Result([RetryLater(reply.error, after=1.0)], {record.key: note})
    return Result([await desk.not_now(reply, desk.rates.edit, turn.context)])


def _is_deleted(turn: Turn) -> bool:
    return turn.delivery.interview is not None and turn.delivery.interview.stage is Stage.DELETED


def _lost(desk: Desk, record: Record, edit: Edit, reply: Reply, *, deleted: bool) -> Result:
    """The message is not there, or not ours, any more."""
    missing = reply.error == _MISSING
    if not edit.is_parent or deleted:
        after = edit.after if not edit.is_parent else replace(record, gone=True)
        notes: dict[str, Note | None] = {record.key: after.note()}
        more = [record.edit(timedelta(0))] if after.extra or after.former else []
        if not missing:
            return Result([Rejected(reply.detail)], notes, more)
        return needless(_DELETED, notes, more, group="" if more else record.key)
    if missing and desk.config.deleted_message == "leave":
        return needless(_DELETED, {record.key: replace(record, gone=True).note()}, group=record.key)
    after = replace(record, ts=None, hash="", wanted=True)
    return needless("the message is made anew", {record.key: after.note()}, [record.edit(timedelta(0))])
