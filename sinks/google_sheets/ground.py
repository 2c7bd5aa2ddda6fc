"""The spreadsheet as a whole, before something is added to it: its tabs, and the ids that are in use. Pure.

(Google Sheets API v4, Spreadsheet and Sheet.)
"""

from __future__ import annotations

from collections.abc import Iterator
from zlib import crc32

import msgspec

from sinks.google_sheets.replies import BookProperties, Metadata, TabProperties

_MOST = 0x7FFF_FFFF


class FilterView(msgspec.Struct, rename="camel"):
    filter_view_id: int = 0


class ProtectedRange(msgspec.Struct, rename="camel"):
    protected_range_id: int = 0


class Chart(msgspec.Struct, rename="camel"):
    chart_id: int = 0


class GroundTab(msgspec.Struct, rename="camel"):
    properties: TabProperties = msgspec.field(default_factory=TabProperties)
    filter_views: list[FilterView] = []
    protected_ranges: list[ProtectedRange] = []
    charts: list[Chart] = []

    def ids(self) -> Iterator[int]:
        """Of the tab and of everything in it."""
        yield self.properties.sheet_id
        yield from (each.filter_view_id for each in self.filter_views)
        yield from (each.protected_range_id for each in self.protected_ranges)
        yield from (each.chart_id for each in self.charts)


class Ground(msgspec.Struct, rename="camel"):
    """A spreadsheet without its cells. `developer_metadata` is that of the spreadsheet itself."""

    properties: BookProperties
    sheets: list[GroundTab] = []
    developer_metadata: list[Metadata] = []

    def holds(self, sheet_id: int) -> bool:
        return any(tab.properties.sheet_id == sheet_id for tab in self.sheets)


GROUND_FIELDS = (
    "properties(title),developerMetadata(metadataId,metadataKey,metadataValue),"
    "sheets(properties(sheetId,title),filterViews(filterViewId),protectedRanges(protectedRangeId),charts(chartId))"
)
"""Field mask of the look at the whole spreadsheet."""


class Free:
    """Ids and titles for new objects: none that is in use, and the same for whoever looks at the same ground."""

    def __init__(self, ground: Ground) -> None:
        self._ids = {number for tab in ground.sheets for number in tab.ids()}
        self._titles = {tab.properties.title.casefold() for tab in ground.sheets}

    def id(self, name: str) -> int:
        """One for an object of whatever kind; `name` says which."""
        wish = crc32(name.encode()) & _MOST or 1
        while wish in self._ids:
            wish = wish % _MOST + 1
        self._ids.add(wish)
        return wish

    def title(self, wish: str) -> str:
        """The title itself, or with a number when a tab has it; Google tells titles apart without letter case."""
        title, number = wish, 1
        while title.casefold() in self._titles:
            number += 1
            title = f"{wish} ({number})"
        self._titles.add(title.casefold())
        return title
