"""What an event would do, as a person would read it: for `connector explain`. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from connector.sink import Delivery, Interview, Note
from sinks.chat.digest import Digest
from sinks.chat.planner import Act, Plan
from sinks.chat.record import Record
from sinks.slack import edits, events, render
from sinks.slack.config import SlackConfig
from sinks.slack.render import Look, Message
from sinks.slack.text import readable

_PLACES = {
    Act.POST: "New message in the channel:",
    Act.REPLY: "Line in the thread:",
    Act.BROADCAST: "Line in the thread, shown in the channel as well:",
}
_NOTHING = "No message: it brings nothing that may be told, or nothing new."


def preview(config: SlackConfig, delivery: Delivery, notes: Mapping[str, Note], now: int) -> str:
    """Everything that becomes visible by this delivery at `now` (epoch milliseconds). Where `privacy` is left to
    Slack's word the name is shown by its initials.
    """
    interview = delivery.interview
    if delivery.event is None or interview is None:
        return _NOTHING
    look = Look("initials" if config.privacy == "auto" else config.privacy, config.link_hosts, config.templates)
    record = Record.read(interview.id, notes.get(Record(interview.id).key))
    plan = events.plan_of(config, delivery, record, now)
    parts = [_message(config, plan, record, interview, look), _digest(plan, delivery, notes, now, look)]
    after = replace(record, ts="", hash="") if plan.act is Act.POST else record
    edit = edits.next_edit(after, interview, look) if plan.edit and config.webhook_url is None else None
    if edit is not None:
        parts.append(f"The message in the channel becomes:\n{read(edit.message)}")
    return "\n\n".join(part for part in parts if part) or _reason(delivery)


def _message(config: SlackConfig, plan: Plan, record: Record, interview: Interview, look: Look) -> str:
    if plan.act is Act.NOTHING:
        return ""
    draft = events.draft_of(config, plan, record, interview, look)
    return f"{_PLACES[plan.act]}\n{read(render.mentioning(draft.message, draft.mention))}"


def _digest(plan: Plan, delivery: Delivery, notes: Mapping[str, Note], now: int, look: Look) -> str:
    interview, event = delivery.interview, delivery.event
    if not plan.counted or interview is None or event is None:
        return ""
    known = Digest.read(interview.position_id, notes.get(Digest(interview.position_id).key))
    shown = render.digest(known.counting(plan.counted, interview, event.occurred_at, now), look)
    return f"No message of its own; the digest becomes:\n{read(shown)}"


def _reason(delivery: Delivery) -> str:
    return "No message: it was received longer ago than max_age." if delivery.late else _NOTHING


def read(message: Message) -> str:
    """The message as a person would read it."""
    lines = [line for block in message["blocks"] for line in _lines(block)]
    return readable("\n".join(lines))


def _lines(block: Mapping[str, Any]) -> list[str]:
    if block["type"] == "header":
        return [block["text"]["text"]]
    if block["type"] == "actions":
        return [f"[{item['text']['text']}] {item['url']}" for item in block["elements"]]
    if block["type"] == "context":
        return [item["text"] for item in block["elements"]]
    if "text" in block:
        return [block["text"]["text"]]
    texts = [item["text"] for item in block["fields"]]
    return [f"{label.strip('*')}: {value}" for label, value in zip(texts[::2], texts[1::2], strict=True)]
