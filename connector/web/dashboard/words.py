"""Times, ages and names in the form that pages show."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from connector.formats import format_duration
from connector.languages import Language, gettext_noop
from connector.text import clean

NO_NAME = gettext_noop("(no name)")
NAME_MAX = 200
"""Characters of a name that are shown."""


TERMS = frozenset(
    {
        # events, without "interview."
        gettext_noop("create"),
        gettext_noop("finish"),
        gettext_noop("status-change"),
        gettext_noop("delete"),
        gettext_noop("score-updated"),
        # kinds of events, and deliveries without an event
        gettext_noop("event"),
        gettext_noop("unknown"),
        gettext_noop("unreadable"),
        gettext_noop("fill"),
        gettext_noop("verify"),
        # outcomes of attempts, results of verifications and of an erase
        gettext_noop("delivered"),
        gettext_noop("superseded"),
        gettext_noop("waiting"),
        gettext_noop("rejected"),
        gettext_noop("retry later"),
        gettext_noop("unclear"),
        gettext_noop("broken"),
        gettext_noop("in sync"),
        gettext_noop("missing"),
        gettext_noop("different"),
        gettext_noop("broken key"),
        gettext_noop("doubled"),
        gettext_noop("stray"),
        gettext_noop("protected"),
        gettext_noop("no tab"),
        gettext_noop("corrected by users"),
        gettext_noop("deleted by users"),
        gettext_noop("pending"),
        gettext_noop("erased"),
        gettext_noop("nothing there"),
        gettext_noop("dismissed"),
        gettext_noop("failed"),
        gettext_noop("not possible"),
        gettext_noop("events"),
        gettext_noop("unreadable events"),
        gettext_noop("deliveries"),
        gettext_noop("dead letters"),
        gettext_noop("answers of destinations"),
        # actions in the audit log
        gettext_noop("pause"),
        gettext_noop("resume"),
        gettext_noop("replay"),
        gettext_noop("dismiss"),
        gettext_noop("repair"),
        gettext_noop("erase"),
        gettext_noop("webhook"),
        gettext_noop("decide"),
        gettext_noop("backfill"),
        gettext_noop("reconcile"),
        gettext_noop("snooze"),
        gettext_noop("show"),
        gettext_noop("restore"),
        # origins of settings
        gettext_noop("default"),
    }
)
"""Values of the store and of reports that pages show in the language of the user; any other is shown as it is."""


@dataclass(frozen=True, slots=True)
class Moment:
    """A point in time: `iso` for programs, `full` with date and zone, `text` as short as it is clear."""

    iso: str
    full: str
    text: str


@dataclass(frozen=True, slots=True)
class Clockface:
    """Shows times in a zone and a language, as seen at `now` (epoch milliseconds)."""

    zone: ZoneInfo
    now: int
    words: Language

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
            text = f"{self.words.short_date(there.date(), with_year=False)} {there:%H:%M}"
        else:
            text = self.words.short_date(there.date(), with_year=True)
        full = f"{self.words.full_date(there.date())}, {there:%H:%M:%S %Z}"
        return Moment(there.isoformat(timespec="seconds"), full, text)

    def age(self, at: int) -> str:
        """Returns the time since `at`, such as `2 h 5 min`."""
        return format_duration(max(0, self.now - at) / 1000)


def _local(at: int, zone: ZoneInfo) -> datetime:
    return datetime.fromtimestamp(at / 1000, tz=UTC).astimezone(zone)


def candidate_name(name: str, words: Language) -> str:
    """Returns the name of a candidate as pages show it."""
    return shown_name(name, words.gettext(NO_NAME))


def shown_name(name: str, missing: str = "") -> str:
    """Returns a name as pages show it: at most `NAME_MAX` characters, and `missing` when no character is visible."""
    text = clean(name).strip()
    return missing if not text else text if len(text) <= NAME_MAX else f"{text[: NAME_MAX - 1]}…"


def term(value: str, words: Language) -> str:
    """Returns a value of the store or of a report in a language. A value that is not ours stays as it is."""
    return words.gettext(value) if value in TERMS else value


def remedy_text(text: str) -> str:
    """Returns what to do as a sentence with its period; a command stays as it is."""
    whole = sentence(text)
    is_done = not whole or whole.endswith((".", "`", "?")) or whole.startswith("connector ")
    return whole if is_done else f"{whole}."


def sentence(text: str) -> str:
    """Returns the text with a capital at its start, and unchanged when it begins with a command."""
    return text if text.startswith("connector ") else text[:1].upper() + text[1:]
