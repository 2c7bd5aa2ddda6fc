"""Times, ages and names in the form that pages show."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from connector.formats import format_duration
from connector.text import clean

NO_NAME = "(no name)"
NAME_MAX = 200
"""Characters of a name that are shown."""


@dataclass(frozen=True, slots=True)
class Moment:
    """A point in time: `iso` for programs, `full` with date and zone, `text` as short as it is clear."""

    iso: str
    full: str
    text: str


@dataclass(frozen=True, slots=True)
class Clockface:
    """Shows times in a zone, as seen at `now` (epoch milliseconds)."""

    zone: ZoneInfo
    now: int

    def moment(self, at: int | None) -> Moment | None:
        """Returns the time of `at` (epoch milliseconds): the hour today, else the date with the hour."""
        if at is None:
            return None
        try:
            there, here = _local(at, self.zone), _local(self.now, self.zone)
        except (ValueError, OverflowError, OSError):  # a date of the sender, outside of what Python can show
            return Moment("", str(at), str(at))
        if there.date() == here.date():
            text = f"{there:%H:%M:%S}"
        elif there.year == here.year:
            text = f"{there.day} {there:%b %H:%M}"
        else:
            text = f"{there.day} {there:%b %Y}"
        return Moment(there.isoformat(timespec="seconds"), f"{there.day} {there:%B %Y, %H:%M:%S %Z}", text)

    def age(self, at: int) -> str:
        """Returns the time since `at`, such as `2 h 5 min`."""
        return format_duration(max(0, self.now - at) / 1000)


def _local(at: int, zone: ZoneInfo) -> datetime:
    return datetime.fromtimestamp(at / 1000, tz=UTC).astimezone(zone)


def shown_name(name: str, missing: str = NO_NAME) -> str:
    """Returns a name as pages show it: at most `NAME_MAX` characters, and `missing` when no character is visible."""
    text = clean(name).strip()
    return missing if not text else text if len(text) <= NAME_MAX else f"{text[: NAME_MAX - 1]}…"


def remedy_text(text: str) -> str:
    """Returns what to do as a sentence with its period; a command stays as it is."""
    whole = sentence(text)
    is_done = not whole or whole.endswith((".", "`", "?")) or whole.startswith("connector ")
    return whole if is_done else f"{whole}."


def sentence(text: str) -> str:
    """Returns the text with a capital at its start, and unchanged when it begins with a command."""
    return text if text.startswith("connector ") else text[:1].upper() + text[1:]
