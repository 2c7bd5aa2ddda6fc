"""The messages themselves: Block Kit (Slack, Reference: Block Kit) from what is known now. Pure and deterministic.

Everything a candidate can write stands in `plain_text` objects, where neither mentions nor markup exist; the top-level
`text`, which notifications and screen readers use, is a whole sentence with markup made literal.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, TypeAlias

from connector.sink import Interview, Stage
from connector.text import without_contacts
from sinks.chat.changes import SCORED, News, What, scale_words
from sinks.chat.digest import Digest
from sinks.slack import wording
from sinks.slack.link import link
from sinks.slack.text import clean, cut, date, literal, safe
from sinks.slack.wording import Templates

Message: TypeAlias = dict[str, Any]
"""The content arguments of chat.postMessage: `text`, `blocks`, `metadata`."""

EVENT_TYPE = "hireflix_notifier"
HEADER_MOST = 140
"""Of the 150 that a header may have."""
NAME_MOST = 80
GIVEN_MOST = 1000
"""Of a name that is searched for addresses and telephone numbers, before it is cut."""
POSITION_MOST = 150
FACT_MOST = 400
WORD_MOST = 40
TEXT_MOST = 2900

_EMOJI = {
    Stage.PENDING: "✉️",
    Stage.TO_EVALUATE: "✅",
    Stage.SHORTLISTED: "⭐",
    Stage.DISCARDED: "✖️",
    Stage.DELETED: "🗑️",
    Stage.UNKNOWN: "❔",
}
_PHRASES = {
    Stage.PENDING: "was invited",
    Stage.TO_EVALUATE: "finished the interview",
    Stage.SHORTLISTED: "was shortlisted",
    Stage.DISCARDED: "was discarded",
    Stage.DELETED: "was deleted",
}
_ANNOUNCED = {
    What.DELETED: "was deleted",
    What.FINISHED: "finished the interview",
    What.INVITED: "was invited",
}
"""The phrase of a headline that announces it. A stage has the phrase in `_PHRASES` if that is about a decision."""
_DECISIONS = (Stage.SHORTLISTED, Stage.DISCARDED)
_MOVED = "A newer message about this interview stands below."


@dataclass(frozen=True, slots=True)
class Look:
    """How messages look. `privacy` is settled: full, initials or none."""

    privacy: str
    link_hosts: Sequence[str]
    templates: Templates


def parent(interview: Interview, look: Look, news: News | None = None) -> Message:
    """The interview's message: what is known now. A deleted one names nobody.

    The headline says the `news`, or, in a message that is edited later, how far the interview has come.
    """
    values = _values(interview, look.privacy, news)
    facts = [(field.label, wording.raw(field.value, values)) for field in look.templates.fields]
    blocks = [_header(values, look), *_facts(facts), _button(interview, look), _times(interview)]
    return {"text": _sentence(values, facts, look), "blocks": [block for block in blocks if block]}


def moved() -> Message:
    """What stays of a message that a newer one replaced. It names nobody, so it can stay for ever."""
    return {"text": _MOVED, "blocks": [_context([_plain(_MOVED)])]}


def adding(message: Message, change: str) -> Message:
    """The message with the difference in words, for a channel without threads."""
    words = safe(change, FACT_MOST) or "Changed"
    return {"text": f"{literal(words)}. {message['text']}", "blocks": [*message["blocks"], _context([_plain(words)])]}


def reply(news: News, interview: Interview, look: Look, *, named: bool) -> Message:
    """A line in the thread: the difference in words, and the name only if `named`."""
    values = _values(interview, look.privacy, news)
    change = clean(news.change, FACT_MOST) or "Changed"
    shown = {name: values[name] for name in ("position", "stage", "score")}
    line = wording.raw(look.templates.reply, {**shown, "change": change})
    words = wording.plain(line, FACT_MOST) or safe(change, FACT_MOST)
    body: list[Message] = [{"type": "section", "text": _text(line, FACT_MOST) or _plain(words)}]
    if named:
        body = [_header(values, look), *body]
        words = f"{_headline(values, look)}. {words}"
    return {"text": f"{literal(words)}. {date(news.at)}", "blocks": [*body, _context([_mrkdwn(date(news.at))])]}


def digest(found: Digest, look: Look) -> Message:
    """The message that stands for many events. It names nobody."""
    values: dict[str, str | int] = {
        **{name: int(found.counts.get(name, 0)) for name in ("invited", "finished", "updates")},
        "summary": found.summary,
        "position": clean(found.position, POSITION_MOST) or "no position",
    }
    line = wording.raw(look.templates.digest, values)
    words = wording.plain(line, FACT_MOST) or safe(found.summary, FACT_MOST)
    span = f"{date(found.first)} to {date(found.last)}" if found.last > found.first else date(found.first)
    body = {"type": "section", "text": _text(line, FACT_MOST) or _plain(words)}
    return {"text": f"{literal(words)}. {span}", "blocks": [body, _context([_mrkdwn(span)])]}


def metadata(key: str, call: int, **ids: str) -> Message:
    """What is added to a message so that it can be found again (Slack, Message metadata): opaque ids only, and which
    call with this key it was.
    """
    return {"metadata": {"event_type": EVENT_TYPE, "event_payload": {"v": 1, "k": key, "r": call, **ids}}}


def mentioning(message: Message, token: str) -> Message:
    """The message with a mention that the configuration makes; in its blocks alone, so that it pings once."""
    if not token:
        return message
    if "blocks" not in message:
        return {**message, "text": f"{token} {message['text']}"}
    return {**message, "blocks": [*message["blocks"], _context([_mrkdwn(token)])]}


def plainly(message: Message, error: str) -> Message:
    """The same message for a Slack that refused it with `error`: the text, and the metadata unless that was wrong."""
    dropped = {"blocks", "metadata"} if "metadata" in error else {"blocks"}
    return {name: value for name, value in message.items() if name not in dropped}


def content_hash(message: Message) -> str:
    """Equal for messages that look the same."""
    content = {name: message.get(name) for name in ("text", "blocks")}
    return sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def shown_name(interview: Interview, privacy: str) -> str:
    """The candidate as the channel may see them: the name, initials, or the end of the interview's id.

    A name that is an e-mail address or a telephone number is shown as with privacy `none`.
    """
    if interview.stage is Stage.DELETED:
        return "A candidate"
    anonymous = f"Candidate {clean(interview.id, 200)[-6:]}"
    if privacy == "none":
        return anonymous
    given = clean(interview.candidate_name, GIVEN_MOST)
    name = without_contacts(given)
    if privacy == "initials":
        name = " ".join(f"{word[0].upper()}." for word in name.split()[:3])
    return cut(name, NAME_MOST) or (anonymous if given else "A candidate")


def _values(interview: Interview, privacy: str, news: News | None = None) -> dict[str, str | int]:
    """What templates may show; of a deleted interview nothing that belongs to a person."""
    deleted = interview.stage is Stage.DELETED
    stage = clean(interview.stage_word, WORD_MOST) or "Unknown"
    return {
        "emoji": _EMOJI[interview.stage],
        "name": shown_name(interview, privacy),
        "phrase": _phrase(interview, stage) if news is None or deleted else _announcement(news, interview, stage),
        "position": clean(interview.position_name, POSITION_MOST) or "none",
        "stage": stage,
        "score": "" if deleted else scale_words(interview.score),
        "external_id": "" if deleted else clean(interview.text("external_id"), NAME_MOST),
        "updated": wording.moment(interview.updated_at),
        "invited": "" if deleted else wording.moment(interview.time("created_at")),
        "completed": "" if deleted else wording.moment(interview.completed_at),
    }


def _phrase(interview: Interview, stage: str) -> str:
    """How far the interview has come: a decision, else the newest event."""
    is_scored = interview.text("last_event") == SCORED and interview.score is not None
    if is_scored and interview.stage in {Stage.PENDING, Stage.TO_EVALUATE}:
        return f"was scored {scale_words(interview.score)}"
    return _PHRASES.get(interview.stage, f"is at {stage}")


def _announcement(news: News, interview: Interview, stage: str) -> str:
    """What happened, as the end of a headline."""
    if news.what is What.SCORE:
        return "has no score any more" if news.score is None else f"was scored {scale_words(news.score)}"
    if news.what is What.STAGE:
        return _phrase(interview, stage) if interview.stage in _DECISIONS else f"is at {stage}"
    return _ANNOUNCED[news.what]


def _headline(values: dict[str, str | int], look: Look, emoji: str | int = "") -> str:
    """The headline escaped, for a sentence without its emoji: screen readers would read that out."""
    line = wording.raw(look.templates.header, {**values, "emoji": emoji})
    return wording.plain(line, HEADER_MOST) or safe(str(values["name"]), HEADER_MOST)


def _header(values: dict[str, str | int], look: Look) -> Message:
    return {"type": "header", "text": _plain(_headline(values, look, values["emoji"]))}


def _sentence(values: dict[str, str | int], facts: list[tuple[str, str]], look: Look) -> str:
    told = [f"{literal(safe(label, WORD_MOST))}: {wording.mrkdwn(value, FACT_MOST)}" for label, value in facts if value]
    return ". ".join([literal(_headline(values, look)), *told])


def _facts(facts: list[tuple[str, str]]) -> list[Message]:
    """Two columns: our label, then the value, each an object of its own so that a value never shares our markup."""
    shown = [(label, _text(value, FACT_MOST)) for label, value in facts]
    items = [
        item for label, value in shown if value for item in (_mrkdwn(f"*{literal(safe(label, WORD_MOST))}*"), value)
    ]
    return [{"type": "section", "fields": items}] if items else []


def _button(interview: Interview, look: Look) -> Message | None:
    url = None if interview.stage is Stage.DELETED else link(interview.text("review_url"), look.link_hosts)
    if url is None:
        return None
    button = {"type": "button", "action_id": "open", "text": _plain("Open in Hireflix"), "url": url}
    return {"type": "actions", "elements": [button]}


def _times(interview: Interview) -> Message | None:
    if interview.stage is Stage.DELETED:
        return None
    times = [("Invited", interview.time("created_at")), ("Completed", interview.completed_at)]
    words = " · ".join(f"{label} {date(at)}" for label, at in times if at is not None)
    return _context([_mrkdwn(words)]) if words else None


def _context(elements: list[Message]) -> Message:
    return {"type": "context", "elements": elements}


def _text(rendered: str, most: int) -> Message | None:
    """A text object for a rendered template: `plain_text`, unless a time in it needs `mrkdwn`; `None` without text."""
    if wording.has_moment(rendered):
        return _mrkdwn(wording.mrkdwn(rendered, most))
    words = wording.plain(rendered, most)
    return _plain(words) if words else None


def _plain(text: str) -> Message:
    return {"type": "plain_text", "text": text, "emoji": False}


def _mrkdwn(text: str) -> Message:
    return {"type": "mrkdwn", "text": text, "verbatim": True}
