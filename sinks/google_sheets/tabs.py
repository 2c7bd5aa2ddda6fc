"""Which tab an interview goes to, and what a tab may be called. Pure."""

from __future__ import annotations

from collections.abc import Collection
from zlib import crc32

from connector.sink import Interview
from sinks.spreadsheet.values import clean_text

POSITION = "{position}"
"""In `worksheet`: one tab per position."""
OTHER = "Other"
"""The tab of interviews that name no position."""
TITLE_MAX = 100
"""Characters that a tab's title may have."""


def is_per_position(worksheet: str) -> bool:
    return POSITION in worksheet


def tab_of(interview: Interview, worksheet: str) -> str:
    """The name by which a tab is remembered: the position's id, or nothing when there is one tab for all."""
    return interview.position_id if is_per_position(worksheet) else ""


def title_of(interview: Interview, worksheet: str) -> str:
    """What a new tab is called; the position's name is text from outside."""
    position = clean_text(interview.position_name).strip() or interview.position_id or OTHER
    position = position if interview.position_id else OTHER
    room = TITLE_MAX - _units(worksheet.replace(POSITION, ""))
    return worksheet.replace(POSITION, _cut(position, max(1, room))).strip()


def free_title(title: str, used: Collection[str]) -> str:
    """The title, or with a number behind it when it is in use; Google tells titles apart without letter case."""
    folded = {each.casefold() for each in used}
    free, number = title, 2
    while free.casefold() in folded:
        mark = f" ({number})"
        free, number = _cut(title, TITLE_MAX - len(mark)) + mark, number + 1
    return free


def new_id(name: str, used: Collection[int]) -> int:
    """The same for everybody who wants this tab: of two who make it at once, one is refused."""
    wish = wished_id(name)
    while wish in used:
        wish = wish % 0x7FFF_FFFF + 1
    return wish


def wished_id(name: str) -> int:
    return crc32(name.encode("utf-8", "replace")) & 0x7FFF_FFFF or 1


def _cut(text: str, units: int) -> str:
    return text.encode("utf-16-le")[: 2 * units].decode("utf-16-le", "ignore").strip()


def _units(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2
