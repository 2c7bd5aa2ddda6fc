"""Text from outside, cleaned and cut, for any chat. Pure."""

from __future__ import annotations

import unicodedata

import connector.text
from connector.http import utc

_READ_AHEAD = 8
"""Characters that are read for each one that may remain: cleaning removes characters and composition joins them."""
LAST_TIME_MS = 9_999_999_999_999
"""Epoch milliseconds of the last time that is shown, in the year 2286. Later ones come from a wrong unit."""


def clean(text: str, most: int) -> str:
    """The text in composed form (NFC) and in one line, without runs of white space, at most `most` units long."""
    line = " ".join(unicodedata.normalize("NFC", connector.text.clean(text[: most * _READ_AHEAD])).split())
    return cut(line, most)


def cut(text: str, most: int) -> str:
    """At most `most` UTF-16 units of the text, ended by an ellipsis when something is missing."""
    if units(text) <= most:
        return text
    length = 0
    for at, char in enumerate(text):
        length += units(char)
        if length > most - 1:
            return text[:at] + "…"
    return text


def units(text: str) -> int:
    """Length in UTF-16 units, the larger of the two ways in which chats count."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def utc_time(at_ms: int) -> str:
    """Epoch milliseconds as text in UTC."""
    return f"{utc(at_ms):%Y-%m-%d %H:%M UTC}" if 0 <= at_ms <= LAST_TIME_MS else "unknown"
