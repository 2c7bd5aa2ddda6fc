"""The kinds of results when a table is compared with the store, and their report."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum

from connector.capabilities import DELETED_BY_USERS, Difference, Report

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
