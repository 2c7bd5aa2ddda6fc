"""The turn of an edit: brings one message of an interview up to what is known now."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta

from connector.sink import Interview, Note, Rejected, Result, RetryLater, Stage
from sinks.slack import render
from sinks.slack.answers import Kind, Reply
from sinks.slack.desk import Desk, Turn, dead, done, is_refused
from sinks.slack.news import everything
from sinks.slack.once import Draft, reconcile, send
from sinks.slack.record import Record
from sinks.slack.render import Look, Message

EDIT = "edit:"
"""Before a note's name: the call that brings its message up to date."""
LATE = "late:"
"""Before a note's name: the call that repeats an edit whose first answer was lost, since a lost call may still be
carried out and put an old content over a new one.
"""
SOON = timedelta(seconds=3)
REPEAT = timedelta(seconds=60)
_MISSING = "message_not_found"


def key_of(record: Record) -> str:
    """The key under which an edit of the interview's messages is asked for."""
    return f"{EDIT}{record.key}"


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
    """Makes one edit, and asks for another turn when there is more to do."""
    record = Record.read(interview_id, turn.note(Record(interview_id).key))
    if interview is None or desk.web is None:
        return done({})
    look = await desk.look(turn.context)
    if record.wanted and interview.stage is not Stage.DELETED:
        return await _replace_lost(desk, turn, record, interview, look)
    repeated = turn.batch.maybe_sent
    edit = next_edit(record, interview, look, forced=repeated or turn.delivery.key.startswith(LATE))
    if edit is None:
        return done({})
    message = render.plainly(edit.message, record.plain) if record.plain else edit.message
    reply = await desk.edit(edit.ts, message, turn.context)
    if reply.kind is not Kind.OK:
        return await _not_edited(desk, turn, record, edit, reply)
    again = {f"{LATE}{record.key}": REPEAT} if repeated and edit.is_parent else {}
    if next_edit(edit.after, interview, look) is not None:
        again[key_of(record)] = timedelta(0)
    return done({record.key: edit.after.note()}, again)


async def _replace_lost(desk: Desk, turn: Turn, record: Record, interview: Interview, look: Look) -> Result:
    found = await reconcile(desk, turn, record, {})
    if found is not None:
        return found
    message = render.parent(interview, look)
    said = {"told": everything(interview, record.told), "hash": render.content_hash(message)}
    result = await send(desk, turn, record, Draft(message, said, {"i": interview.id}))
    assert isinstance(result, Result)
    return result


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
    key = key_of(record)
    if not edit.is_parent or deleted:
        after = edit.after if not edit.is_parent else replace(record, gone=True)
        notes: dict[str, Note | None] = {record.key: after.note()}
        more = {key: timedelta(0)} if after.extra or after.former else {}
        return Result([Rejected(reply.detail)], notes, more) if not missing else done(notes, more)
    if missing and desk.config.deleted_message == "leave":
        return done({record.key: replace(record, gone=True).note()})
    after = replace(record, ts=None, hash="", wanted=True)
    return done({record.key: after.note()}, {key: timedelta(0)})
