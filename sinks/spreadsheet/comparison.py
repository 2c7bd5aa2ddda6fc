"""The kinds of results when a table is compared with the store."""

from __future__ import annotations

from enum import StrEnum

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
    DELETED = "deleted by users"
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
