"""The content of messages, from what is known now, without the markup of any service. Pure and deterministic.

Every text in a `Content` may come from outside. A service shows it in a form in which it cannot mention, format or
link.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from connector.capabilities import ButtonPreview, MessagePreview
from connector.languages import Language
from connector.sink import Interview, Stage
from connector.text import web_link, without_contacts
from sinks.chat import wording
from sinks.chat.changes import Announcement
from sinks.chat.decisions import NO_PANEL, Panel
from sinks.chat.phrases import (
    change_text,
    digest_summary,
    phrase,
    score_with_scale,
    stage_text,
    text_beyond_headline,
)
from sinks.chat.record import DigestRecord
from sinks.chat.text import clean, cut
from sinks.chat.wording import Templates

NAME_UNITS = 80
"""Most UTF-16 units of a candidate's name."""
GIVEN_UNITS = 1000
"""Most UTF-16 units of a name that are searched for addresses and telephone numbers, before it is cut."""
POSITION_UNITS = 150
"""Most UTF-16 units of a position's name."""
CHANGE_UNITS = 400
"""Most UTF-16 units of the text of a change."""
DIGEST_POSITION_UNITS = 60
"""Most UTF-16 units of a position's name in a digest, which is one line."""
SHORT_NAME_UNITS = 16
"""Most UTF-16 units of a name in a list of names."""
_HOST = re.compile(r"[a-z0-9.-]+")
_EMOJI = {
    Stage.PENDING: "✉️",
    Stage.TO_EVALUATE: "✅",
    Stage.SHORTLISTED: "⭐",
    Stage.DISCARDED: "✖️",
    Stage.DELETED: "🗑️",
    Stage.UNKNOWN: "❔",
}


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a list, with an https address behind a button, or none."""

    text: str
    link: str = ""


@dataclass(frozen=True, slots=True)
class Content:
    """One message. Rendered texts may hold times (`wording.parts`).

    `headline` is shown large, and `notification` is the same for a phone, in one line. `text` is the line below the
    headline, `facts` are labels with values, `link` is an https address behind a button, `footer` is small print, and
    `change` is the difference in words where the chat has no threads. `lines` are a list below the headline. `button`
    is the text on each button, and `panel` holds the buttons for decisions.
    `fallback_error` is the error with which the service rejected the content before: send something plainer.
    """

    headline: str = ""
    notification: str = ""
    text: str = ""
    facts: tuple[tuple[str, str], ...] = ()
    link: str = ""
    footer: str = ""
    change: str = ""
    fallback_error: str = ""
    lines: tuple[Line, ...] = ()
    button: str = ""
    panel: Panel = NO_PANEL


@dataclass(frozen=True, slots=True)
class Style:
    """How messages look. `privacy` is full, initials or none, never auto. `panel` is that of an interview."""

    privacy: str
    link_hosts: Sequence[str]
    templates: Templates
    language: Language
    panel: Panel = NO_PANEL


def superseded_content(language: Language) -> Content:
    """Returns the content of a message that a newer one replaced. It contains no personal data."""
    return Content(footer=language.gettext("A newer message about this interview is below."))


def interview_content(interview: Interview, style: Style, announcement: Announcement | None = None) -> Content:
    """Returns the message about the current state of an interview; without personal data when it is deleted. The
    headline shows the announcement or, in an edited message, the latest step of the interview.
    """
    values = _values(interview, style, announcement)
    filled = ((fact.label, wording.fill(fact.value, values)) for fact in style.templates.fields)
    deleted = interview.stage is Stage.DELETED
    content = Content(
        text=wording.fill(style.templates.details, values),
        facts=tuple((label, value) for label, value in filled if value.strip()),
        link="" if deleted else trusted_link(interview.text("review_url"), style.link_hosts) or "",
        button=style.language.gettext("Open in Hireflix"),
        panel=style.panel,
    )
    return _with_headline(content, values, style, _notification(interview, style, announcement))


def with_change(content: Content, announcement: Announcement, style: Style) -> Content:
    """Returns the content with the text of the changes, for a chat without threads. The usual headline shows some."""
    text = change_text if _has_own_headline(style.templates) else text_beyond_headline
    return replace(content, change=text(announcement, style.language))


def reply_content(announcement: Announcement, interview: Interview, style: Style, *, named: bool) -> Content:
    """Returns a reply in the thread with the text of the change, and with the candidate's name only if `named`.

    Where the headline says all that happened, the details of the interview are below it.
    """
    values = _values(interview, style, announcement)
    text = text_beyond_headline if named else change_text
    change = clean(text(announcement, style.language), CHANGE_UNITS)
    shown = {name: values[name] for name in ("position", "stage", "score")}
    line = wording.fill(style.templates.reply, {**shown, "change": change})
    content = Content(text=line if _is_visible(line) else change, footer=wording.moment(announcement.at_ms))
    if not named:
        return content
    if not change:
        content = replace(content, text=wording.fill(style.templates.details, values))
    return _with_headline(content, values, style, _notification(interview, style, announcement))


def digest_content(digest: DigestRecord, style: Style) -> Content:
    """Returns the message that counts many events, with the names of candidates who finished as privacy allows."""
    language = style.language
    names = [name for each in digest.named if (name := _in_privacy(str(each["name"]), style.privacy))]
    summary = digest_summary(digest.counts, names, language)
    counts = {name: int(count) for name, count in digest.counts.items()}
    others = sum(count for name, count in counts.items() if name not in {"invited", "finished"})
    values: dict[str, str | int] = {
        "invited": counts.get("invited", 0),
        "finished": counts.get("finished", 0),
        "updates": others,
        "summary": summary,
        "position": clean(digest.position, DIGEST_POSITION_UNITS) or language.gettext("no position"),
    }
    line = wording.fill(style.templates.digest, values)
    first, last = wording.moment(digest.first_ms), wording.moment(digest.last_ms)
    return Content(
        text=line if _is_visible(line) else summary,
        link=trusted_link(digest.link, style.link_hosts) or "",
        button=language.gettext("Open in Hireflix"),
        footer=f"{first} → {last}" if digest.last_ms > digest.first_ms else first,
    )


def short_name(interview: Interview, style: Style) -> str:
    """Returns the candidate as a digest names them: first name and initial. `""` where privacy allows no name."""
    if interview.stage is Stage.DELETED:
        return ""
    words = without_contacts(clean(interview.candidate_name, GIVEN_UNITS)).split()
    if not words:
        return ""
    name = cut(words[0], SHORT_NAME_UNITS)
    return _in_privacy(" ".join([name, *_initials(words[1:])[-1:]]), style.privacy)


def _in_privacy(name: str, privacy: str) -> str:
    if privacy == "full":
        return name
    return " ".join(_initials(name.split())) if privacy == "initials" else ""


def _initials(words: Iterable[str]) -> list[str]:
    """Returns the initials of the words that begin with a letter or digit, so without `(she/her)`, signs and emoji."""
    return [f"{word[0].upper()}." for word in words if word[0].isalnum()]


def position_link(interview: Interview) -> str:
    """Returns the address of the interview's position: the part of the review link before the interview, else `""`.

    (Hireflix: `…/jobs/POSITION/interview/INTERVIEW`.)
    """
    head, found, _ = interview.text("review_url").rpartition(f"/interview/{interview.id}")
    return head if found and head.endswith(f"/jobs/{interview.position_id}") else ""


def as_text(content: Content, mention: str = "", *, neutralise: Callable[[str], str] = str) -> str:
    """The content as lines of text, times in UTC. `neutralise` is applied to every text from outside, for a service
    whose text has markup.
    """
    lines = [
        _neutral(content.headline, neutralise),
        *_body(content, neutralise),
        " ".join(f"[{button.label}]" for button in content.panel.buttons),
        f"[{content.button}] {content.link}" if content.link else "",
        wording.in_utc(content.footer),
        _neutral(content.change, neutralise),
        mention,
    ]
    return "\n".join(line for line in lines if line)


def preview_of(content: Content, place: str, mention: str = "") -> MessagePreview:
    """Returns the content as a preview of the message in this place, with times in UTC."""
    lines = [*_body(content, str), wording.in_utc(content.footer), _neutral(content.change, str), mention]
    links = [ButtonPreview(content.button, content.link)] if content.link else []
    return MessagePreview(
        place,
        headline=_neutral(content.headline, str),
        lines=[line for line in lines if line],
        buttons=[*(ButtonPreview(button.label) for button in content.panel.buttons), *links],
    )


def _body(content: Content, neutralise: Callable[[str], str]) -> list[str]:
    """Returns the lines between the headline and the buttons."""
    return [
        _neutral(content.text, neutralise),
        *(_neutral(line.text, neutralise) for line in content.lines),
        *(f"{label}: {_neutral(value, neutralise)}" for label, value in content.facts),
        _stamp_text(content.panel),
    ]


def _stamp_text(panel: Panel) -> str:
    return "" if panel.stamp is None else panel.stamp.text.replace("{user}", panel.stamp.user)


def _neutral(rendered: str, neutralise: Callable[[str], str]) -> str:
    return neutralise(" ".join(wording.in_utc(rendered).split()))


def shown_name(interview: Interview, style: Style) -> str:
    """The candidate as the channel may see them: the name, the initials, or the end of the interview's id.

    E-mail addresses and telephone numbers in a name are not shown. A deleted interview has no name.
    """
    language = style.language
    if interview.stage is Stage.DELETED:
        return language.gettext("An interview")
    anonymous = language.gettext("Candidate {id}").format(id=clean(interview.id, 200)[-6:])
    if style.privacy == "none":
        return anonymous
    given = clean(interview.candidate_name, GIVEN_UNITS)
    name = without_contacts(given)
    if style.privacy == "initials":
        name = " ".join(_initials(name.split())[:3])
    return cut(name, NAME_UNITS) or (anonymous if given else language.gettext("A candidate"))


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


def _with_headline(content: Content, values: Mapping[str, str | int], style: Style, notification: str) -> Content:
    """Returns the content with its headline. A headline of the user's own wording is the notification too."""
    template = style.templates.header
    headline = wording.fill(template, values)
    if not _is_visible(headline):
        return replace(content, headline=str(values["name"]), notification=notification)
    is_own = _has_own_headline(style.templates)
    return replace(content, headline=headline, notification=headline if is_own else notification)


def _has_own_headline(templates: Templates) -> bool:
    """Whether the headline has a wording of the user's own, which need not say what happened."""
    return bool(templates.header != Templates.model_fields["header"].default)


def _notification(interview: Interview, style: Style, announcement: Announcement | None) -> str:
    """Returns who, what and the position in one line."""
    news = phrase(interview, style.language, announcement, short=True)
    headline = f"{_EMOJI[interview.stage]} {shown_name(interview, style)} {news}"
    position = clean(interview.position_name, POSITION_UNITS)
    return f"{headline} · {position}" if position else headline


def _is_visible(rendered: str) -> bool:
    return bool(clean(wording.in_utc(rendered), CHANGE_UNITS))


def _values(interview: Interview, style: Style, announcement: Announcement | None = None) -> dict[str, str | int]:
    """Returns the values that templates may show; without personal data for a deleted interview."""
    deleted = interview.stage is Stage.DELETED
    return {
        "emoji": _EMOJI[interview.stage],
        "name": shown_name(interview, style),
        "phrase": phrase(interview, style.language, announcement),
        "position": clean(interview.position_name, POSITION_UNITS),
        "stage": stage_text(interview, style.language),
        "score": "" if deleted else score_with_scale(interview.score, style.language),
        "external_id": "" if deleted else clean(interview.text("external_id"), NAME_UNITS),
        "updated": wording.moment(interview.updated_at),
        "invited": "" if deleted else wording.moment(interview.time("created_at")),
        "completed": "" if deleted else wording.moment(interview.completed_at),
    }
