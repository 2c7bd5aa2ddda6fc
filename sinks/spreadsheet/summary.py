"""What the Summaries of a Google sheet and of a workbook share: their texts, and the criteria of their formulas."""

from __future__ import annotations

from connector.languages import Language, gettext_noop
from connector.sink import STAGE_WORDS, Stage
from sinks.spreadsheet.values import CELL_COLOURS

TITLE = gettext_noop("Summary")
ALL = gettext_noop("All positions")
STAGES = tuple(CELL_COLOURS)
"""The stages that have a column, in their order."""
WAITING = Stage.TO_EVALUATE
"""The stage whose waiting times are shown."""


def waiting_titles(words: Language) -> tuple[str, str]:
    """Returns the headers for the average and the longest time that interviews wait for a decision."""
    stage = words.gettext(STAGE_WORDS[WAITING])
    average = words.gettext("{stage}: average days").format(stage=stage)
    return average, words.gettext("{stage}: longest, days").format(stage=stage)


def equals(cell: str, separator: str) -> str:
    """Returns a criterion of COUNTIFS for exactly the text of a cell, also when it begins with a sign such as `>`.
    `separator` separates the arguments of a function.
    """
    return f'"="&{_exact(cell, separator)}'


def differs(cell: str, separator: str) -> str:
    """Returns a criterion of COUNTIFS for any text except that of a cell."""
    return f'"<>"&{_exact(cell, separator)}'


def _exact(text: str, separator: str) -> str:
    """Returns a formula for the text without wildcards: `~` escapes `~`, `*` and `?` (Google Docs Editors Help and
    Microsoft Support, COUNTIFS).
    """
    for sign in "~*?":
        text = f'SUBSTITUTE({text}{separator}"{sign}"{separator}"~{sign}")'
    return text
