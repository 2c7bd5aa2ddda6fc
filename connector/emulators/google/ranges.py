"""Ranges: A1 notation, `GridRange`, `DimensionRange` and data filters, each to blocks of cells."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from connector.emulators.google.errors import GoogleError, Refusal, invalid, unparsable_range
from connector.emulators.google.model import Area, Book, Dimension, Tab, Tag

_SIDE = re.compile(r"\$?([A-Za-z]{0,3})\$?(\d{0,7})")
_PLAIN_TITLE = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_LIKE_A_CELL = re.compile(r"[A-Za-z]{1,3}\d+")


@dataclass(frozen=True, slots=True)
class Bounds:
    """A requested block; an end of `None` is open."""

    top: int = 0
    bottom: int | None = None
    left: int = 0
    right: int | None = None

    def clamp(self, tab: Tab) -> Area:
        """Returns the part inside the grid. Raises for a block that starts outside of it."""
        if self.top >= tab.row_count or self.left >= tab.column_count:
            raise Refusal(self._outside(tab))
        bottom = tab.row_count if self.bottom is None else min(self.bottom, tab.row_count)
        right = tab.column_count if self.right is None else min(self.right, tab.column_count)
        return Area(self.top, max(self.top, bottom), self.left, max(self.left, right))

    def inside(self, tab: Tab) -> Area:
        """Returns the block. Raises when it is partly outside of the grid."""
        if (self.bottom or 0) > tab.row_count or (self.right or 0) > tab.column_count:
            raise Refusal(self._outside(tab))
        return self.clamp(tab)

    def _outside(self, tab: Tab) -> str:
        name = notation(tab.title, self)
        return f"Range ({name}) exceeds grid limits. Max rows: {tab.row_count}, max columns: {tab.column_count}"


def letters(column: int) -> str:
    """0 is A, 26 is AA."""
    text = ""
    column += 1
    while column:
        column, rest = divmod(column - 1, 26)
        text = chr(65 + rest) + text
    return text


def column_number(text: str) -> int:
    number = 0
    for letter in text.upper():
        number = number * 26 + ord(letter) - 64
    return number - 1


def quoted(title: str) -> str:
    """The title as A1 notation writes it: in quotes only where it needs them."""
    if _PLAIN_TITLE.fullmatch(title) and not _LIKE_A_CELL.fullmatch(title):
        return title
    return "'" + title.replace("'", "''") + "'"


def notation(title: str, bounds: Bounds | Area) -> str:
    """A1 notation as Google writes it in replies and messages."""
    first = letters(bounds.left) + str(bounds.top + 1)
    last = ("" if bounds.right is None else letters(bounds.right - 1)) + (
        "" if bounds.bottom is None else str(bounds.bottom)
    )
    return quoted(title) + "!" + (first if first == last else f"{first}:{last}")


def parse_a1(book: Book, text: str) -> tuple[Tab, Bounds]:
    """`Tab!A1:B2`, `'My tab'!A:A`, `Tab!1:1`, `Tab`, or `A1` on the first tab."""
    title, separator, cells = text.rpartition("!")
    whole = book.titled(_unquoted(text))
    if whole is not None:
        return whole, Bounds()
    tab = book.titled(_unquoted(title)) if separator else book.tabs[0]
    bounds = _parse_cells(cells)
    if tab is None or bounds is None:
        raise unparsable_range(text)
    return tab, bounds


def _unquoted(title: str) -> str:
    if len(title) > 1 and title[0] == title[-1] == "'":
        return title[1:-1].replace("''", "'")
    return title


def _parse_cells(text: str) -> Bounds | None:
    """`A1`, `A1:B2`, `A:B`, `1:2` or `A2:B`; the corners may be in any order."""
    corners = [_SIDE.fullmatch(corner) for corner in text.split(":")]
    found = [(corner[1], corner[2]) for corner in corners if corner is not None]
    if len(found) != len(corners) or len(found) not in {1, 2}:
        return None
    if any(corner == ("", "") or corner[1] == "0" for corner in found) or (len(found) == 1 and "" in found[0]):
        return None
    left, right = _ends([column_number(corner[0]) for corner in found if corner[0]], len(found))
    top, bottom = _ends([int(corner[1]) - 1 for corner in found if corner[1]], len(found))
    return Bounds(top, bottom, left, right)


def _ends(places: list[int], corners: int) -> tuple[int, int | None]:
    """Start and exclusive end; the end is open unless every corner names it."""
    return min(places, default=0), (max(places) + 1 if len(places) == corners else None)


def tab_of(book: Book, body: Mapping[str, Any], thing: str = "grid") -> Tab:
    """The tab that `sheetId` names; a missing one is 0, as in every proto3 message."""
    sheet_id = int(body.get("sheetId") or 0)
    tab = book.tab(sheet_id)
    if tab is None:
        raise Refusal(f"No {thing} with id: {sheet_id}")
    return tab


def grid_range(book: Book, body: Mapping[str, Any]) -> tuple[Tab, Bounds]:
    """A `GridRange`."""
    return tab_of(book, body), Bounds(
        index(body, "startRowIndex"),
        open_index(body, "endRowIndex"),
        index(body, "startColumnIndex"),
        open_index(body, "endColumnIndex"),
    )


def dimension_range(book: Book, body: Mapping[str, Any]) -> tuple[Tab, Dimension, int, int | None]:
    """A `DimensionRange`: tab, dimension, start, end (`None` = open)."""
    tab = tab_of(book, body)
    dimension = body.get("dimension")
    if dimension not in {"ROWS", "COLUMNS"}:
        raise Refusal("No dimension specified.")
    start, end = index(body, "startIndex"), open_index(body, "endIndex")
    if end is not None and end <= start:
        raise Refusal(f"range.endIndex[{end}] must be greater than range.startIndex[{start}].")
    return tab, dimension, start, end


def index(body: Mapping[str, Any], name: str) -> int:
    """Returns a position, 0 by default. Raises for a negative one."""
    value = int(body.get(name) or 0)
    if value < 0:
        raise Refusal(f"{name}[{value}] must not be negative.")
    return value


def open_index(body: Mapping[str, Any], name: str) -> int | None:
    """An exclusive end, `None` where it is left out."""
    return None if body.get(name) is None else index(body, name)


def matching_tags(book: Book, lookup: Mapping[str, Any]) -> list[Tag]:
    """Returns the tags that a `DeveloperMetadataLookup` finds, in order of creation."""
    return [tag for tag in book.tags.values() if _matches(book, tag, lookup)]


def _matches(book: Book, tag: Tag, lookup: Mapping[str, Any]) -> bool:
    wanted = {
        "metadataId": tag.id,
        "metadataKey": tag.key,
        "metadataValue": tag.value,
        "visibility": tag.visibility,
        "locationType": location_type(tag),
    }
    if any(lookup.get(name) is not None and str(lookup[name]) != str(value) for name, value in wanted.items()):
        return False
    location = lookup.get("metadataLocation")
    if location is None:
        return True
    exact = lookup.get("locationMatchingStrategy") != "INTERSECTING_LOCATION"
    return _at(book, tag, location) if exact else _touches(book, tag, location)


def location_type(tag: Tag) -> str:
    if tag.sheet_id is None:
        return "SPREADSHEET"
    return {None: "SHEET", "ROWS": "ROW", "COLUMNS": "COLUMN"}[tag.dimension]


def _at(book: Book, tag: Tag, location: Mapping[str, Any]) -> bool:
    if location.get("spreadsheet"):
        return tag.sheet_id is None
    if "dimensionRange" not in location:
        return tag.line is None and tag.sheet_id == int(location.get("sheetId") or 0)
    tab, dimension, start, end = dimension_range(book, location["dimensionRange"])
    if tag.sheet_id != tab.id or tag.dimension != dimension or tag.line is None:
        return False
    return (start, end) == (tab.index_of(dimension, tag.line), tab.index_of(dimension, tag.line) + 1)


def _touches(book: Book, tag: Tag, location: Mapping[str, Any]) -> bool:
    if location.get("spreadsheet"):
        return True
    if "dimensionRange" not in location:
        return tag.sheet_id == int(location.get("sheetId") or 0)
    tab, dimension, start, end = dimension_range(book, location["dimensionRange"])
    if tag.sheet_id != tab.id or tag.dimension is None or tag.line is None:
        return tag.sheet_id == tab.id
    place = tab.index_of(tag.dimension, tag.line)
    return tag.dimension != dimension or start <= place < (len(tab.lines(dimension)) if end is None else end)


Found = list[tuple[Tab, Area]]


def filtered(book: Book, body: Mapping[str, Any]) -> Found:
    """Returns the blocks that a `DataFilter` matches; none when a lookup finds nothing."""
    if "developerMetadataLookup" in body:
        tags = matching_tags(book, body["developerMetadataLookup"])
        return [found for tag in tags if (found := tagged_area(book, tag)) is not None]
    if "a1Range" in body:
        tab, bounds = parse_a1(book, body["a1Range"])
    else:
        tab, bounds = grid_range(book, body.get("gridRange") or {})
    return [(tab, bounds.clamp(tab))]


def tagged_area(book: Book, tag: Tag) -> tuple[Tab, Area] | None:
    """The whole row, column or tab that carries the tag; `None` for one of the spreadsheet."""
    tab = None if tag.sheet_id is None else book.tab(tag.sheet_id)
    if tab is None:
        return None
    area = tab.area
    if tag.dimension is not None and tag.line is not None:
        place = tab.index_of(tag.dimension, tag.line)
        if tag.dimension == "ROWS":
            area = Area(place, place + 1, area.left, area.right)
        else:
            area = Area(area.top, area.bottom, place, place + 1)
    return tab, area


def a1_areas(book: Book, texts: list[str]) -> Found:
    """Returns the blocks of A1 ranges."""
    found: Found = []
    for text in texts:
        tab, bounds = parse_a1(book, text)
        found.append((tab, clamped(tab, bounds)))
    return found


def clamped(tab: Tab, bounds: Bounds) -> Area:
    """Calls `Bounds.clamp`; raises the error that Google answers for the whole call."""
    try:
        return bounds.clamp(tab)
    except Refusal as refusal:
        raise invalid(str(refusal)) from None


def filter_areas(book: Book, filters: list[dict[str, Any]]) -> list[Found]:
    """Returns the blocks of each data filter. Raises the error of Google for an empty filter."""
    found = []
    for number, body in enumerate(filters):
        try:
            found.append(filtered(book, body))
        except Refusal as refusal:
            raise _bad_filter(number, str(refusal)) from None
    return found


def _bad_filter(number: int, reason: str) -> GoogleError:
    return invalid(f"Invalid dataFilters[{number}]: {reason}")
