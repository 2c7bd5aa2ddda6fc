"""Cleans and cuts text from outside, for any chat. Pure functions."""

from __future__ import annotations

import unicodedata

import connector.text
from connector.http import utc

_READ_AHEAD = 8
"""Characters that are read per character of the result, because cleaning removes characters and composition joins them.
"""
LAST_TIME_MS = 9_999_999_999_999
"""The last time that is shown: the year 2286, in epoch milliseconds. Later times have a wrong unit."""


def clean(text: str, most: int) -> str:
    """Returns the text in composed form (NFC) and in one line, without runs of white space, cut to `most` units."""
    line = " ".join(unicodedata.normalize("NFC", connector.text.clean(text[: most * _READ_AHEAD])).split())
    return cut(line, most)


def cut(text: str, most: int) -> str:
    """Returns at most `most` UTF-16 units of the text, with an ellipsis at the end if it was cut."""
    if units(text) <= most:
        return text
    length = 0
    for at, char in enumerate(text):
        length += units(char)
        if length > most - 1:
            return text[:at] + "…"
    return text


def units(text: str) -> int:
    """Returns the length in UTF-16 units. Chats count these or code points, which are fewer."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def utc_time(at_ms: int) -> str:
    """Returns epoch milliseconds as text in UTC, `?` for a time that is not shown."""
    return f"{utc(at_ms):%Y-%m-%d %H:%M UTC}" if 0 <= at_ms <= LAST_TIME_MS else "?"
