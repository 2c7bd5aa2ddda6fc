"""Text from outside, made safe for Slack (Slack, Formatting message text, escaping and date formatting). Pure."""

from __future__ import annotations

import re
import unicodedata

import connector.text
from connector.http import utc

_ENTITY_CUT = re.compile(r"&[a-z]{0,3}\Z")
_DATE = re.compile(r"<!date\^\d+\^[^|>]*\|([^>]*)>")
_MARKERS = re.compile(r"[*_~`]")
_LAST_DATE = 9_999_999_999_999
"""Epoch milliseconds; in the year 2286 the seconds get an eleventh digit."""


def clean(text: str, most: int) -> str:
    """Cleaned text in composed form (NFC) without runs of white space, at most `most` long."""
    line = " ".join(unicodedata.normalize("NFC", connector.text.clean(text[: most * 8])).split())
    return cut(line, most)


def escape(text: str) -> str:
    """Escapes the three characters that Slack reads as control sequences."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def cut(text: str, most: int) -> str:
    """At most `most` UTF-16 units, ended by an ellipsis when something is missing; never within an entity."""
    if units(text) <= most:
        return text
    room, kept = most - 1, 0
    for at, char in enumerate(text):
        kept += units(char)
        if kept > room:
            text = text[:at]
            break
    return _ENTITY_CUT.sub("", text) + "…"


def units(text: str) -> int:
    """Length in UTF-16 units, the larger of the two ways in which Slack may count."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def safe(text: str, most: int) -> str:
    """Foreign text for any place in a message: cleaned, escaped, then cut to `most`."""
    return cut(escape(clean(text, most)), most)


def literal(text: str) -> str:
    """Takes the meaning from `* _ ~` and back-ticks, which have no escape in mrkdwn: a marker after a word joiner opens
    nothing.
    """
    return _MARKERS.sub("\u2060\\g<0>", text)


def date(at: int) -> str:
    """Epoch milliseconds as a token that each reader sees in the own time zone."""
    if not 0 <= at <= _LAST_DATE:
        return "unknown"
    return f"<!date^{at // 1000}^{{date_short_pretty}} at {{time}}|{utc(at):%Y-%m-%d %H:%M UTC}>"


def readable(text: str) -> str:
    """What a person sees of it, dates in UTC."""
    plain = _DATE.sub(r"\1", text).replace("\u2060", "")
    return plain.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
