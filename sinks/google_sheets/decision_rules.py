"""Decides when a value in the decision column is a decision. Pure functions. The column belongs to users. Its first
read is a baseline without decisions. Later a value is a decision when it changed and then stayed unchanged for some
time. Rows are identified by their interview, not by their place.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, NamedTuple

from connector.decision import Decision
from connector.languages import Language, gettext_noop, language, languages
from connector.sink import Note

STILL_MS = 30_000
"""A value is a decision when a later read finds it unchanged after this time, because users correct a wrong choice at
once.
"""
LARGE = 5
"""More rows than this that change between two reads are a paste or a fill, which an operator must confirm."""
STALE_MS = 86_400_000
"""After this time without a read the next one is a baseline, because users do not expect an old decision to be sent."""
UNKNOWN = "?"
"""Any text that is not a choice."""
DOUBLED = "*"
"""The value of an interview whose rows have different values. The value that remains later is a baseline."""

CHOICES: Mapping[str, Decision] = {
    gettext_noop("Advance"): Decision.SHORTLIST,
    gettext_noop("Hold"): Decision.BACK,
    gettext_noop("Reject"): Decision.DISCARD,
}
"""The choices. *Hold* takes a decision back; there is nothing to do for an interview without one."""


def labels(words: Language) -> list[str]:
    """Returns the choices of the drop-down in a language."""
    return [words.gettext(choice) for choice in CHOICES]


@cache
def _by_text() -> Mapping[str, str]:
    """Returns the choice for each of its labels, in any language: cells keep theirs when the setting changes."""
    return {
        label.casefold(): choice
        for words in map(language, languages())
        for label, choice in zip(labels(words), CHOICES, strict=True)
    }


class Sighting(NamedTuple):
    """A changed value: since when (epoch milliseconds), and the rows that changed with it, 0 for a few."""

    choice: str
    since: int
    rows: int = 0


class SettledChoice(NamedTuple):
    """A value that stayed unchanged, so that it is a decision."""

    interview_id: str
    decision: Decision
    since: int
    rows: int


@dataclass(frozen=True, slots=True)
class Choices:
    """What the reads of the column found. `column` is its title and `read_at` the last stored read.

    `known` maps interviews to the values that were decided or are baselines, without empty ones. It keeps interviews
    whose rows are missing, so that a restored row is not a decision. `fresh` are values that have to stay unchanged for
    some time. `tabs` are the tabs whose baseline was read, and `made` those that had a column; if it is missing there,
    users deleted it.
    """

    column: str
    read_at: int = 0
    known: Mapping[str, str] = field(default_factory=dict)
    fresh: Mapping[str, Sighting] = field(default_factory=dict)
    tabs: frozenset[int] = frozenset()
    made: frozenset[int] = frozenset()

    def without(self, interview_ids: Collection[str]) -> Choices:
        """Returns the choices without these interviews, which were erased."""
        known = {id_: value for id_, value in self.known.items() if id_ not in interview_ids}
        fresh = {id_: each for id_, each in self.fresh.items() if id_ not in interview_ids}
        return Choices(self.column, self.read_at, known, fresh, self.tabs, self.made)

    def encode(self) -> Note:
        """Returns the note that stores it."""
        known: dict[str, list[str]] = {}
        for id_, value in sorted(self.known.items()):
            known.setdefault(value, []).append(id_)
        return {
            "v": 1,
            "column": self.column,
            "read_at": self.read_at,
            "known": known,
            "fresh": {id_: list(each) for id_, each in sorted(self.fresh.items())},
            "tabs": sorted(self.tabs),
            "made": sorted(self.made),
        }


def read_choices(note: Mapping[str, Any] | None) -> Choices | None:
    """Returns what a note stores, `None` without one."""
    if note is None:
        return None
    return Choices(
        note["column"],
        note["read_at"],
        {id_: value for value, ids in note["known"].items() for id_ in ids},
        {id_: Sighting(*each) for id_, each in note["fresh"].items()},
        frozenset(note["tabs"]),
        frozenset(note["made"]),
    )


class SeenTab(NamedTuple):
    """One read of a tab: an interview and the text of its decision cell for each row."""

    id: int
    rows: Sequence[tuple[str, str]]


def choice_of(text: str) -> str:
    """Returns the English word of a choice, `""` for an empty cell, `UNKNOWN` for any other text."""
    value = text.strip().casefold()
    return _by_text().get(value, UNKNOWN) if value else ""


def observe(
    before: Choices | None, column: str, tabs: Sequence[SeenTab], now: int
) -> tuple[Choices, list[SettledChoice]]:
    """Returns the choices after a read, and the values that are decisions now. `before` are the choices of the last
    read, if any. An interview whose rows have different values has no decision, because it is not clear which row
    counts.
    """
    made = before.made if before is not None else frozenset()
    if before is None or before.column != column or not 0 <= now - before.read_at <= STALE_MS:
        before = Choices(column, now, made=made)
    seen, is_new = _values(tabs, before.tabs)
    is_new |= {id_ for id_, value in before.known.items() if value == DOUBLED}
    known, fresh, decided = dict(before.known), dict[str, Sighting](), list[SettledChoice]()
    changed = {id_: value for id_, value in seen.items() if value != known.get(id_, "")}
    new = [
        id_
        for id_, value in changed.items()
        if id_ not in is_new and value != DOUBLED and _is_new(before.fresh.get(id_), value)
    ]
    rows = len(new) if len(new) > LARGE else 0
    for id_, value in changed.items():
        last = before.fresh.get(id_)
        if id_ in is_new or value == DOUBLED:
            _learn(known, id_, value)
        elif last is None or last.choice != value:
            fresh[id_] = Sighting(value, now, rows or (0 if last is None else last.rows))
        elif now - last.since < STILL_MS:
            fresh[id_] = last
        else:
            _learn(known, id_, value)
            if value in CHOICES:
                decided.append(SettledChoice(id_, CHOICES[value], last.since, last.rows))
    ids = frozenset(tab.id for tab in tabs)
    is_stale = now - before.read_at > STALE_MS / 24  # a note that only says when is written once an hour
    read_at = now if (known, fresh) != (before.known, before.fresh) or is_stale else before.read_at
    return Choices(column, read_at, known, fresh, ids, before.made | ids), decided


def _is_new(last: Sighting | None, value: str) -> bool:
    return last is None or last.choice != value


def _learn(known: dict[str, str], id_: str, value: str) -> None:
    if value:
        known[id_] = value
    else:
        known.pop(id_, None)


def _values(tabs: Iterable[SeenTab], known: Collection[int]) -> tuple[dict[str, str], set[str]]:
    """Returns the value of each interview, and those with a row in a tab whose baseline was not read yet."""
    seen: dict[str, str] = {}
    unclear, is_new = set[str](), set[str]()
    for tab in tabs:
        for id_, text in tab.rows:
            value = choice_of(text)
            if seen.setdefault(id_, value) != value:
                unclear.add(id_)
            if tab.id not in known:
                is_new.add(id_)
    return seen | dict.fromkeys(unclear, DOUBLED), is_new
