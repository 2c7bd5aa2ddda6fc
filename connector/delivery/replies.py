"""Masks the reply of a destination to a failed call. What is stored contains no secrets and no personal data."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from pydantic import BaseModel, SecretStr

from connector.interview import Interview
from connector.logging import HIDDEN, SECRET_TEXTS
from connector.sink import Delivery
from connector.store.settle import DestinationReply
from connector.text import clean

REPLY_BYTES = 2048
"""Longest stored text, in UTF-8. An error document of Google or Slack has some hundred bytes."""
READ_CHARACTERS = 4 * REPLY_BYTES
"""Characters that are masked, which may shorten the text."""
VALUE_LENGTH_MIN = 3
"""Shorter values occur in ordinary words."""
PERSONAL_FIELDS = (
    "candidate_name",
    "candidate_first_name",
    "candidate_last_name",
    "candidate_email",
    "candidate_phone",
    "thumbnail_url",
    "short_url",
    "review_url",
    "candidate_url",
    "share_url",
    "comments",
    "reviewer_scores",
    "transcript",
)
_WORD = re.compile(r"[^\W\d_]+(?:['\u2019\-][^\W\d_]+)*")
_ESCAPES = re.compile(r"\\u([0-9a-fA-F]{4})")


def mask_reply(reply: DestinationReply, deliveries: Sequence[Delivery], config: BaseModel) -> DestinationReply:
    """Returns the reply in the form that is stored.

    Hidden are the secrets of the sink's settings, what has the form of a secret or an e-mail address, and names and
    contact data of the interviews that the deliveries are about.
    """
    text = clean(_ESCAPES.sub(_unescaped, reply.text[:READ_CHARACTERS]))
    interviews = [delivery.interview for delivery in deliveries if delivery.interview is not None]
    values = _values(interviews, config)
    for value in values:
        if value.casefold() in text.casefold():
            text = re.sub(re.escape(value), HIDDEN, text, flags=re.IGNORECASE)
    words = _words(interviews)
    text = _WORD.sub(lambda found: HIDDEN if found[0].casefold() in words else found[0], text)
    text = SECRET_TEXTS.sub(HIDDEN, text)
    if len(reply.text) > READ_CHARACTERS and values:
        text = text[: -len(values[0])]  # the end may be the start of a value
    text = " ".join(text.split())
    return DestinationReply(reply.status, text.encode()[:REPLY_BYTES].decode(errors="ignore"))


def _unescaped(found: re.Match[str]) -> str:
    """Returns the character of a JSON escape, so that an escaped name is recognised."""
    return str(json.loads(f'"{found[0]}"'))


def _values(interviews: Iterable[Interview], config: BaseModel) -> list[str]:
    """Returns secrets and personal values, the longest first: one may contain another."""
    values = {*_secrets(config)}
    for interview in interviews:
        values |= {interview.text(name) for name in PERSONAL_FIELDS}
    return sorted((value for value in values if len(value) >= VALUE_LENGTH_MIN), key=len, reverse=True)


def _words(interviews: Iterable[Interview]) -> set[str]:
    """Returns the words of the candidates' names."""
    return {
        found[0].casefold()
        for interview in interviews
        for name in ("candidate_name", "candidate_first_name", "candidate_last_name")
        for found in _WORD.finditer(clean(interview.text(name)))
        if len(found[0]) >= VALUE_LENGTH_MIN
    }


def _secrets(value: Any) -> Iterator[str]:
    if isinstance(value, SecretStr):
        yield value.get_secret_value()
    elif isinstance(value, BaseModel):
        for each in value.__dict__.values():
            yield from _secrets(each)
    elif isinstance(value, dict):
        for each in value.values():
            yield from _secrets(each)
    elif isinstance(value, list | tuple | set | frozenset):
        for each in value:
            yield from _secrets(each)
