"""What an event would do, as users would read it: for `connector explain`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from connector.sink import Delivery, Interview, Note
from sinks.chat.content import Style, as_text, digest_content
from sinks.chat.digest_record import DigestRecord
from sinks.chat.events import draft_of, plan_of
from sinks.chat.planner import Action, Plan
from sinks.chat.record import InterviewRecord
from sinks.chat.session import Session
from sinks.chat.updates import next_edit

_PLACES = {
    Action.POST: "New message in the channel:",
    Action.REPLY: "Reply in the thread:",
    Action.BROADCAST: "Reply in the thread, shown in the channel as well:",
}
_NOTHING = "No message: there is nothing to announce, or nothing new."


def preview(session: Session, delivery: Delivery, notes: Mapping[str, Note], now: int) -> str:
    """Everything that becomes visible by this delivery at `now` (epoch milliseconds). With `privacy = "auto"` the
    candidate is named by initials.
    """
    config, interview = session.config, delivery.interview
    if delivery.event is None or interview is None:
        return _NOTHING
    style = Style("initials" if config.privacy == "auto" else config.privacy, config.link_hosts, config.templates)
    record = InterviewRecord.read(interview.id, notes.get(InterviewRecord(interview.id).key))
    plan = plan_of(config, delivery, record, now)
    texts = [_message(session, plan, record, interview, style), _digest(plan, delivery, notes, now, style)]
    after = replace(record, message_id="", content_hash="") if plan.action is Action.POST else record
    edit = next_edit(session.content_hash, after, interview, style) if plan.edit and config.edits else None
    if edit is not None:
        texts.append(f"The message in the channel becomes:\n{as_text(edit.content)}")
    return "\n\n".join(text for text in texts if text) or _reason(delivery)


def _message(session: Session, plan: Plan, record: InterviewRecord, interview: Interview, style: Style) -> str:
    if plan.action is Action.NOTHING:
        return ""
    draft = draft_of(session, plan, record, interview, style)
    return f"{_PLACES[plan.action]}\n{as_text(draft.content, draft.mention)}"


def _digest(plan: Plan, delivery: Delivery, notes: Mapping[str, Note], now: int, style: Style) -> str:
    interview, event = delivery.interview, delivery.event
    if not plan.counted or interview is None or event is None:
        return ""
    known = DigestRecord.read(interview.position_id, notes.get(DigestRecord(interview.position_id).key))
    counted = known.counting(plan.counted, interview, event.occurred_at, now)
    return f"No message of its own; the digest becomes:\n{as_text(digest_content(counted, style))}"


def _reason(delivery: Delivery) -> str:
    return "No message: it is older than max_age." if delivery.late else _NOTHING
