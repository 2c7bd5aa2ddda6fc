"""The kinds of results when a table is compared with the store, their report, and rows whose cells were moved."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from enum import StrEnum

from connector.capabilities import DELETED_BY_USERS, Difference, Report

IDENTIFYING_FIELDS = frozenset({"candidate_email", "candidate_name", "candidate_phone", "external_id", "created_at"})
"""Fields that together identify one interview in almost all cases."""
MOVED_CELLS_MIN = 3
"""Least number of cells that show each other's values. Two may be a correction by users."""
REPORTED_MAX = 1_000
"""Most differences that a report lists."""


class ComparisonResult(StrEnum):
    """The result of comparing one interview or row."""

    IN_SYNC = "in sync"
    MISSING = "missing"
    DIFFERENT = "different"
    BROKEN_KEY = "broken key"
    DOUBLED = "doubled"
    STRAY = "stray"
    PROTECTED = "protected"
    NO_TAB = "no tab"
    CORRECTED = "corrected by users"
    DELETED = DELETED_BY_USERS
    PENDING = "pending"


WRONG = (
    ComparisonResult.MISSING,
    ComparisonResult.DIFFERENT,
    ComparisonResult.BROKEN_KEY,
    ComparisonResult.DOUBLED,
    ComparisonResult.STRAY,
    ComparisonResult.PROTECTED,
    ComparisonResult.NO_TAB,
)
"""The kinds that mean "not in sync"."""


def report_of(
    at: int,
    sink: str,
    counts: Mapping[str, int],
    differences: Iterable[Difference],
    fixes: Mapping[ComparisonResult, str],
) -> Report:
    """Returns the report of a comparison at `at` (epoch milliseconds), with wrong results first. `fixes` are what an
    operator can do about each kind; `{sink}` in them is the name of the sink.
    """
    listed = sorted(differences, key=lambda each: (each.kind not in WRONG, each.kind, each.key))
    return Report(
        at,
        {
            str(kind): counts.get(kind, 0)
            for kind in ComparisonResult
            if counts.get(kind) or kind is ComparisonResult.IN_SYNC
        },
        [str(kind) for kind in WRONG],
        listed[:REPORTED_MAX],
        fixes={str(kind): fix.format(sink=sink) for kind, fix in fixes.items() if counts.get(kind)},
    )


def moved_rows(corrections: Mapping[str, Mapping[str, tuple[Hashable, Hashable]]]) -> set[str]:
    """Returns the rows whose cells were moved without the rest of the row, for example by a sort of some columns.

    `corrections` are the identifying cells that users changed: key -> field -> shown value and due value. A cell was
    moved when it shows the due value of another of these cells, and another one shows its due value. A user who
    corrects a cell writes a value of no other row, or leaves the former value nowhere.
    """
    by_field: dict[str, dict[str, tuple[Hashable, Hashable]]] = {}
    for key, cells in corrections.items():
        for name, cell in cells.items():
            by_field.setdefault(name, {})[key] = cell
    moved: list[str] = []
    for column in by_field.values():
        shown, due = ({cell[place] for cell in column.values()} for place in (0, 1))
        moved += [key for key, (here, wanted) in column.items() if here in due and wanted in shown]
    return set(moved) if len(moved) >= MOVED_CELLS_MIN else set()
