"""The fields that only the API of Hireflix has: which query reads them, their text, and when they are read again.

Hireflix sends no webhook when a comment or a transcript is added (Webhooks, Getting started: five events), so these
fields are read again after some time. Pure functions. The names in the queries are those of the help articles "Scoring
and commenting interviews" and "Creating a shareable link", and of public programs that read transcripts; a name that
Hireflix does not know is left out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from connector.hireflix import EnrichedField
from connector.hireflix.api import Fields
from connector.hireflix.payload import epoch_ms
from connector.hireflix.snapshot import ApiInterview
from connector.interview import Value

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
TRANSCRIPT_MS = 7 * DAY_MS
"""A missing transcript is requested until this time after the finish: every hour on the first day, then daily."""
REVIEW_MS = 60 * DAY_MS
"""Comments and scores of reviewers are read daily until this time after the finish, and after every webhook."""
RENEW_MS = 14 * DAY_MS
"""A link is renewed this time before it expires."""
TEXT_MAX = 45_000
"""Most characters of a text. A cell of Google Sheets holds 50,000."""
SEPARATOR = " | "
"""Separator of comments, scores and answers, because a cell shows one line."""

_SELECTIONS: Mapping[EnrichedField, Fields] = {
    EnrichedField.SHARE_URL: {"externalLink": {"url": None, "expires": None}},
    EnrichedField.COMMENTS: {"comments": {"value": None, "createdAt": None, "author": {"name": None}}},
    EnrichedField.REVIEWER_SCORES: {
        "scores": {"computedScore": None, "overridenScore": {"value": None}, "scorer": {"name": None}}
    },
    EnrichedField.TRANSCRIPT: {
        "questions": {"title": None, "answer": {"transcription": {"languageCode": None, "text": None}}}
    },
}


def selection_of(fields: Collection[EnrichedField]) -> Fields:
    """Returns the part of a query that reads these fields of an interview."""
    chosen: dict[str, Fields | None] = {"id": None}
    for field in EnrichedField:
        if field in fields:
            chosen |= _SELECTIONS[field]
    return chosen


def needs_link(row: ApiInterview, now: int) -> bool:
    """Whether an interview has no link to its video, or one that expires within `RENEW_MS`."""
    link = _mapping(row.get("externalLink"))
    expires = epoch_ms(link.get("expires"))
    return not link.get("url") or (expires is not None and expires - now < RENEW_MS)


def enriched(row: ApiInterview, fields: Collection[EnrichedField]) -> dict[str, Value]:
    """Returns the chosen fields of an interview of the API, by the names of a synthetic event.

    A field that the answer does not have, because Hireflix does not know it, is left out.
    """
    found: dict[str, Value] = {}
    if EnrichedField.SHARE_URL in fields and "externalLink" in row:
        link = _mapping(row["externalLink"])
        found |= {"shareUrl": _text(link.get("url")) or None, "shareExpires": epoch_ms(link.get("expires"))}
    if EnrichedField.COMMENTS in fields and "comments" in row:
        found["comments"] = _joined(map(_comment, _mappings(row["comments"])))
    if EnrichedField.REVIEWER_SCORES in fields and "scores" in row:
        found["reviewerScores"] = _joined(map(_score, _mappings(row["scores"])))
    if EnrichedField.TRANSCRIPT in fields and "questions" in row:
        answers = [_answer(each) for each in _mappings(row["questions"])]
        found["transcript"] = _joined(text for text, _ in answers)
        languages = dict.fromkeys(language for text, language in answers if text and language)
        found["transcriptLanguage"] = ", ".join(languages) or None
    return found


def _comment(comment: Mapping[str, Any]) -> str:
    text = _text(comment.get("value"))
    at = epoch_ms(comment.get("createdAt"))
    when = "" if at is None else f"{datetime.fromtimestamp(at / 1000, UTC):%Y-%m-%d}"
    head = " ".join(part for part in (when, _text(_mapping(comment.get("author")).get("name"))) if part)
    return f"{head}: {text}" if head and text else text


def _score(score: Mapping[str, Any]) -> str:
    """Returns the value of a reviewer, else the average of the answers ("Allow rating per question")."""
    given = _mapping(score.get("overridenScore")).get("value")
    value = score.get("computedScore") if given is None else given
    if not isinstance(value, int | float):
        return ""
    return f"{_text(_mapping(score.get('scorer')).get('name'))} {value:g}".strip()


def _answer(question: Mapping[str, Any]) -> tuple[str, str]:
    """Returns question and answer, `""` without a transcript, and the language."""
    transcription = _mapping(_mapping(question.get("answer")).get("transcription"))
    title, text = _text(question.get("title")), _text(transcription.get("text"))
    return (f"{title}: {text}" if title and text else text), _text(transcription.get("languageCode"))


def _joined(parts: Iterable[str]) -> str | None:
    text = SEPARATOR.join(part for part in parts if part)
    return (text if len(text) <= TEXT_MAX else f"{text[:TEXT_MAX]}…") or None


def _text(value: object) -> str:
    return " ".join(value.split()) if isinstance(value, str) else ""


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _mappings(value: object) -> Sequence[Mapping[str, Any]]:
    return [each for each in value if isinstance(each, Mapping)] if isinstance(value, list) else []


def next_look(
    values: Mapping[str, Value], fields: Collection[EnrichedField], *, finished_at: int, now: int
) -> int | None:
    """Returns when the interview is read again (epoch milliseconds), `None` when only a webhook causes it.

    `values` are its stored fields after this reading, and `finished_at` is when the candidate finished.
    """
    age = now - finished_at
    looks = []
    if EnrichedField.TRANSCRIPT in fields and not values.get("transcript") and age < TRANSCRIPT_MS:
        looks.append(now + (HOUR_MS if age < DAY_MS else DAY_MS))
    if {EnrichedField.COMMENTS, EnrichedField.REVIEWER_SCORES} & {*fields} and age < REVIEW_MS:
        looks.append(now + DAY_MS)
    expires = values.get("share_expires_at")
    if EnrichedField.SHARE_URL in fields and isinstance(expires, int):
        looks.append(max(now + DAY_MS, expires - RENEW_MS))
    return min(looks, default=None)
