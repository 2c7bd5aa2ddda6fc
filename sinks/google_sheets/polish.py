"""Dresses the tabs that we made, once each, as the very last thing of a flush.

A tab carries a mark from the batch that made it, and another one from the batch that dressed it: what the sheet itself
says survives a crash, and a second try is refused as a whole instead of doubling rules. Nothing of this may ever hold
up a delivery: what fails is tried again by a later flush, and then left alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from connector.sink import RateLimited
from sinks.google_sheets import requests
from sinks.google_sheets.batch import first_number
from sinks.google_sheets.calls import Calls
from sinks.google_sheets.columns import Layout, hold_requests
from sinks.google_sheets.config import GoogleSheetsConfig
from sinks.google_sheets.dress import dress
from sinks.google_sheets.errors import CallFailed, Trouble
from sinks.google_sheets.ground import Free, Ground
from sinks.google_sheets.reading import View
from sinks.google_sheets.requests import Request
from sinks.google_sheets.summary import Source, summarize

TRIES = 3
"""Failures after which a process dresses nothing any more. The last try goes without the Summary."""

Seen: TypeAlias = tuple[View, Layout]


@dataclass(slots=True)
class Wardrobe:
    """What a sink knows of the dressing: lost in a restart, and nothing is wrong."""

    dressed: set[int] = field(default_factory=set)
    failures: int = 0

    def due(self, seen: Sequence[Seen]) -> list[Seen]:
        """The tabs that we made and nobody dressed yet, with every column in its place."""
        if self.failures >= TRIES:
            return []
        return [
            (view, layout)
            for view, layout in seen
            if view.bare and layout.settled and not layout.missing and view.sheet_id not in self.dressed
        ]


async def polish(calls: Calls, seen: Sequence[Seen], config: GoogleSheetsConfig, wardrobe: Wardrobe) -> None:
    """Dresses what is due by one read and one write for all tabs together. Raises nothing but `LeaseLost`."""
    due = wardrobe.due(seen) if config.style else []
    if not due:
        return
    try:
        await calls.ready_to_write()
        ground = await calls.ground()
        summary = wardrobe.failures < TRIES - 1
        body = dressing(due, ground, per_position=config.per_position, summary=summary)
        await calls.write(body)
    except RateLimited:
        return
    except CallFailed as error:
        wardrobe.failures += error.failure.trouble is not Trouble.THROTTLED
        return
    wardrobe.failures = 0
    wardrobe.dressed.update(view.sheet_id for view, _ in due)


def dressing(due: Sequence[Seen], ground: Ground, *, per_position: bool, summary: bool = True) -> Mapping[str, Any]:
    """The body of the one write. It is refused when a tab was dressed already, or when a column was moved since."""
    free = Free(ground)
    batch: list[Request] = []
    for view, layout in due:
        number = first_number(view.sheet_id)
        batch += [requests.mark_dressed(view.sheet_id, number - 2), *hold_requests(view, layout, number - 1)]
        batch += dress(view, layout, free)
    if summary:
        sources = [Source(view, layout) for view, layout in due]
        batch += summarize(sources, ground, free, per_position=per_position)
    return requests.batch_body(batch, [requests.cell_range(due[0][0].title, 0, 0)])
