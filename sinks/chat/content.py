"""The content of messages, from what is known now, without the markup of any service. Pure and deterministic.

Every text in a `Content` may come from outside. A service shows it in a form in which it cannot mention, format or
link.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from connector.sink import Interview, Stage
from connector.text import web_link, without_contacts
from sinks.chat import wording
from sinks.chat.changes import SCORED, Announcement, ChangeKind, score_with_scale
from sinks.chat.record import DigestRecord
from sinks.chat.text import clean, cut
from sinks.chat.wording import Templates

NAME_UNITS = 80
GIVEN_UNITS = 1000
"""Of a name that is searched for addresses and telephone numbers, before it is cut."""
POSITION_UNITS = 150
CHANGE_UNITS = 400
STAGE_UNITS = 40

_HOST = re.compile(r"[a-z0-9.-]+")
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
_ANNOUNCEMENTS = {
    ChangeKind.DELETED: "was deleted",
    ChangeKind.FINISHED: "finished the interview",
    ChangeKind.INVITED: "was invited",
}
"""The phrase of a headline for a kind of change. A stage has the phrase in `_PHRASES` if that is about a decision."""
_DECISIONS = (Stage.SHORTLISTED, Stage.DISCARDED)


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a list, with an https address behind a button, or none."""

    text: str
    link: str = ""


@dataclass(frozen=True, slots=True)
class Content:
    """One message. Rendered texts may hold times (`wording.parts`).

    `headline` is shown large, `spoken_headline` is the same without its emoji, for notifications and screen readers.
    `text` is the line below it, `facts` are labels with values, `link` is an https address behind a button, `footer` is
    small print, and `change` is the difference in words where the chat has no threads. `lines` are a list below the
    headline.
    `fallback_error` is the error with which the service rejected the content before: send something plainer.
    """

    headline: str = ""
    spoken_headline: str = ""
    text: str = ""
    facts: tuple[tuple[str, str], ...] = ()
    link: str = ""
    footer: str = ""
    change: str = ""
    fallback_error: str = ""
    lines: tuple[Line, ...] = ()


@dataclass(frozen=True, slots=True)
class Style:
    """How messages look. `privacy` is full, initials or none, never auto."""

    privacy: str
    link_hosts: Sequence[str]
    templates: Templates


SUPERSEDED = Content(footer="A newer message about this interview is below.")
"""The text of a message that a newer one replaced. It contains no personal data, so it need not be updated."""
BUTTON = "Open in Hireflix"


def interview_content(interview: Interview, style: Style, announcement: Announcement | None = None) -> Content:
    """Returns the message about the current state of an interview; without personal data when it is deleted. The
    headline shows the announcement or, in an edited message, the latest step of the interview.
    """
    values = _values(interview, style.privacy, announcement)
    facts = tuple((fact.label, wording.fill(fact.value, values)) for fact in style.templates.fields)
    deleted = interview.stage is Stage.DELETED
    times = [("Invited", interview.time("created_at")), ("Completed", interview.completed_at)]
    return _with_headline(
        Content(
            facts=tuple((label, value) for label, value in facts if value.strip()),
            link="" if deleted else trusted_link(interview.text("review_url"), style.link_hosts) or "",
            footer="" if deleted else " · ".join(f"{label} {_time(at)}" for label, at in times if at is not None),
        ),
        values,
        style,
    )


def with_change(content: Content, change: str) -> Content:
    """Returns the content with the text of the change, for a chat without threads."""
    return replace(content, change=clean(change, CHANGE_UNITS) or "Changed")


def reply_content(announcement: Announcement, interview: Interview, style: Style, *, named: bool) -> Content:
    """Returns a reply in the thread with the text of the change, and with the candidate's name only if `named`."""
    values = _values(interview, style.privacy, announcement)
    change = clean(announcement.text, CHANGE_UNITS) or "Changed"
    shown = {name: values[name] for name in ("position", "stage", "score")}
    line = wording.fill(style.templates.reply, {**shown, "change": change})
    content = Content(text=line if _is_visible(line) else change, footer=_time(announcement.at_ms))
    return _with_headline(content, values, style) if named else content


def digest_content(digest: DigestRecord, style: Style) -> Content:
    """Returns the message that counts many events. It contains no names of candidates."""
    values: dict[str, str | int] = {
        **{name: int(digest.counts.get(name, 0)) for name in ("invited", "finished", "updates")},
        "summary": digest.summary,
        "position": clean(digest.position, POSITION_UNITS) or "no position",
    }
    line = wording.fill(style.templates.digest, values)
    first, last = _time(digest.first_ms), _time(digest.last_ms)
    span = f"{first} to {last}" if digest.last_ms > digest.first_ms else first
    return Content(text=line if _is_visible(line) else digest.summary, footer=span)


def as_text(content: Content, mention: str = "", *, neutralise: Callable[[str], str] = str) -> str:
    """The content as lines of text, times in UTC. `neutralise` is applied to every text from outside, for a service
    whose text has markup.
    """
    facts = [f"{label}: {_neutral(value, neutralise)}" for label, value in content.facts]
    lines = [
        _neutral(content.headline, neutralise),
        _neutral(content.text, neutralise),
        *(_neutral(line.text, neutralise) for line in content.lines),
        *facts,
        f"[{BUTTON}] {content.link}" if content.link else "",
        wording.in_utc(content.footer),
        _neutral(content.change, neutralise),
        mention,
    ]
    return "\n".join(line for line in lines if line)


def _neutral(rendered: str, neutralise: Callable[[str], str]) -> str:
    return neutralise(" ".join(wording.in_utc(rendered).split()))


def shown_name(interview: Interview, privacy: str) -> str:
    """The candidate as the channel may see them: the name, the initials, or the end of the interview's id.

    E-mail addresses and telephone numbers in a name are not shown. A deleted interview has no name.
    """
    if interview.stage is Stage.DELETED:
        return "A candidate"
    anonymous = f"Candidate {clean(interview.id, 200)[-6:]}"
    if privacy == "none":
        return anonymous
    given = clean(interview.candidate_name, GIVEN_UNITS)
    name = without_contacts(given)
    if privacy == "initials":
        name = " ".join(f"{word[0].upper()}." for word in name.split()[:3])
    return cut(name, NAME_UNITS) or (anonymous if given else "A candidate")


def trusted_link(url: str, hosts: Iterable[str]) -> str | None:
    """The address, percent-encoded, when it is https and its host is one of `hosts` or below one; else `None`.

    User names, ports, backslashes and control characters can make an address look like another host: refused.
    """
    encoded = web_link(url)
    if encoded is None:
        return None
    parts = urlsplit(encoded)
    host = parts.netloc.lower()
    trusted = any(host == one or host.endswith(f".{one}") for one in hosts)
    return encoded if parts.scheme == "https" and _HOST.fullmatch(host) and trusted else None


def _with_headline(content: Content, values: dict[str, str | int], style: Style) -> Content:
    template = style.templates.header
    headline = wording.fill(template, values)
    spoken = wording.fill(template, {**values, "emoji": ""})
    name = str(values["name"])
    return replace(
        content,
        headline=headline if _is_visible(headline) else name,
        spoken_headline=spoken if _is_visible(spoken) else name,
    )


def _is_visible(rendered: str) -> bool:
    return bool(clean(wording.in_utc(rendered), CHANGE_UNITS))


def _time(at_ms: int) -> str:
    return wording.moment(at_ms) or "unknown"


def _values(interview: Interview, privacy: str, announcement: Announcement | None = None) -> dict[str, str | int]:
    """Returns the values that templates may show; without personal data for a deleted interview."""
    deleted = interview.stage is Stage.DELETED
    stage = clean(interview.stage_word, STAGE_UNITS) or "Unknown"
    phrase = _phrase(interview, stage)
    if announcement is not None and not deleted:
        phrase = _announced_phrase(announcement, interview, stage)
    return {
        "emoji": _EMOJI[interview.stage],
        "name": shown_name(interview, privacy),
        "phrase": phrase,
        "position": clean(interview.position_name, POSITION_UNITS) or "none",
        "stage": stage,
        "score": "" if deleted else score_with_scale(interview.score),
        "external_id": "" if deleted else clean(interview.text("external_id"), NAME_UNITS),
        "updated": wording.moment(interview.updated_at),
        "invited": "" if deleted else wording.moment(interview.time("created_at")),
        "completed": "" if deleted else wording.moment(interview.completed_at),
    }


def _phrase(interview: Interview, stage: str) -> str:
    """Returns the latest step of the interview: a decision, else the newest event."""
    is_scored = interview.text("last_event") == SCORED and interview.score is not None
    if is_scored and interview.stage in {Stage.PENDING, Stage.TO_EVALUATE}:
        return f"was scored {score_with_scale(interview.score)}"
    return _PHRASES.get(interview.stage, f"is at {stage}")


def _announced_phrase(announcement: Announcement, interview: Interview, stage: str) -> str:
    """Returns the announced change as the end of a headline."""
    if announcement.kind is ChangeKind.SCORE:
        score = announcement.score
        return "has no score any more" if score is None else f"was scored {score_with_scale(score)}"
    if announcement.kind is ChangeKind.STAGE:
        return _phrase(interview, stage) if interview.stage in _DECISIONS else f"is at {stage}"
    return _ANNOUNCEMENTS[announcement.kind]
