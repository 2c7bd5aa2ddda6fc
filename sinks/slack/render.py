"""The message itself: Block Kit from an interview and its news (Slack, Reference: Block Kit). Pure and deterministic.

Everything a candidate can write stands in `plain_text` objects, where neither mentions nor markup exist; the top-level
`text`, which notifications and screen readers use, is a whole sentence with markup made literal.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

from connector.sink import Interview, Stage
from sinks.slack.link import link
from sinks.slack.news import News, What
from sinks.slack.text import clean, date, literal, readable, safe

Message: TypeAlias = dict[str, Any]
"""The content arguments of chat.postMessage: `text`, `blocks`, `metadata`."""

EVENT_TYPE = "hireflix_notifier"
NAME_MOST = 80
"""With emoji and headline at most 140 of the 150 that a header may have."""
POSITION_MOST = 150
WORD_MOST = 40
_SCORE_BOUND = 1_000_000

_STAGE_EMOJI = {
    Stage.PENDING: "✉️",
    Stage.TO_EVALUATE: "✅",
    Stage.SHORTLISTED: "⭐",
    Stage.DISCARDED: "✖️",
    Stage.DELETED: "🗑️",
    Stage.UNKNOWN: "❔",
}
_STAGE_NEWS = {
    Stage.PENDING: "is invited again",
    Stage.TO_EVALUATE: "is to be evaluated again",
    Stage.SHORTLISTED: "was shortlisted",
    Stage.DISCARDED: "was discarded",
}
_TIME_LABEL = {
    What.DELETED: "Deleted",
    What.FINISHED: "Finished",
    What.STAGE: "Stage changed",
    What.SCORE: "Score changed",
    What.INVITED: "Invited",
}


def render(news: News, interview: Interview, key: str, *, privacy: str, link_hosts: Iterable[str]) -> Message:
    """The message that tells `news`; `key` is the delivery's id. The same input gives the same bytes."""
    name, headline = shown_name(interview, privacy), _headline(news, interview)
    blocks = [_header(interview, name, headline), _facts(interview), _button(news, interview, link_hosts), _when(news)]
    return {
        "text": _sentence(news, interview, name, headline),
        "blocks": [block for block in blocks if block],
        "metadata": {"event_type": EVENT_TYPE, "event_payload": {"v": 1, "k": key, "i": interview.id}},
    }


def plainly(message: Message, error: str) -> Message:
    """The same message for a Slack that refused it with `error`: the text, and the metadata unless that was wrong."""
    dropped = {"blocks", "metadata"} if "metadata" in error else {"blocks"}
    return {name: value for name, value in message.items() if name not in dropped}


def preview(message: Message) -> str:
    """The message as a person would read it."""
    lines = [line for block in message["blocks"] for line in _lines(block)]
    return readable("\n".join(lines))


def shown_name(interview: Interview, privacy: str) -> str:
    """The candidate as the channel may see them, escaped: the name, initials, or the end of the interview's id."""
    name = clean(interview.candidate_name, NAME_MOST)
    if privacy == "none":
        return safe(f"Candidate {clean(interview.id, 200)[-6:]}", NAME_MOST)
    if privacy == "initials":
        name = " ".join(f"{word[0].upper()}." for word in name.split()[:3])
    return safe(name or "A candidate", NAME_MOST)


def _headline(news: News, interview: Interview) -> str:
    if news.what is What.STAGE:
        word = safe(interview.stage_word or "an unknown stage", WORD_MOST)
        return _STAGE_NEWS.get(interview.stage, f"moved to {word}")
    if news.what is What.SCORE:
        return "has no score any more" if interview.score is None else f"was scored {_score(interview)}"
    return {
        What.DELETED: "was deleted",
        What.FINISHED: "finished the interview",
        What.INVITED: "was invited",
    }[news.what]


def _sentence(news: News, interview: Interview, name: str, headline: str) -> str:
    position = safe(interview.position_name, POSITION_MOST)
    facts = [
        f"{name} {headline}{' for ' if position else ''}{position}",
        f"Stage: {_stage_word(interview)}",
        f"Score: {_score(interview)}",
        f"{_TIME_LABEL[news.what]}: ",
    ]
    return literal(". ".join(facts)) + date(news.at)


def _header(interview: Interview, name: str, headline: str) -> Message:
    return {"type": "header", "text": _plain(f"{_STAGE_EMOJI[interview.stage]} {name} {headline}")}


def _facts(interview: Interview) -> Message:
    """Two columns: our label, then the value, each an object of its own so that a value never shares our markup."""
    pairs = [
        ("Position", _plain(safe(interview.position_name, POSITION_MOST) or "none")),
        ("Stage", _plain(_stage_word(interview))),
        ("Score", _plain(_score(interview))),
        ("Updated", _mrkdwn(date(interview.updated_at))),
    ]
    return {"type": "section", "fields": [item for label, value in pairs for item in (_mrkdwn(f"*{label}*"), value)]}


def _button(news: News, interview: Interview, link_hosts: Iterable[str]) -> Message | None:
    url = None if news.what is What.DELETED else link(interview.text("review_url"), link_hosts)
    if url is None:
        return None
    button = {"type": "button", "action_id": "open", "text": _plain("Open in Hireflix"), "url": url}
    return {"type": "actions", "elements": [button]}


def _when(news: News) -> Message:
    return {"type": "context", "elements": [_mrkdwn(f"{_TIME_LABEL[news.what]}: {date(news.at)}")]}


def _stage_word(interview: Interview) -> str:
    return safe(interview.stage_word, WORD_MOST) or "Unknown"


def _score(interview: Interview) -> str:
    score = interview.score
    if score is None:
        return "none"
    return f"{score:g} of 5" if abs(score) < _SCORE_BOUND else "?"


def _plain(text: str) -> Message:
    return {"type": "plain_text", "text": text, "emoji": False}


def _mrkdwn(text: str) -> Message:
    return {"type": "mrkdwn", "text": text, "verbatim": True}


def _lines(block: Mapping[str, Any]) -> list[str]:
    if block["type"] == "header":
        return [block["text"]["text"]]
    if block["type"] == "actions":
        return [f"[{item['text']['text']}] {item['url']}" for item in block["elements"]]
    if block["type"] == "context":
        return [item["text"] for item in block["elements"]]
    texts = [item["text"] for item in block["fields"]]
    return [f"{label.strip('*')}: {value}" for label, value in zip(texts[::2], texts[1::2], strict=True)]
