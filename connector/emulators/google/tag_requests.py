"""Requests about developer metadata (Sheets API, Read, write, and search metadata)."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from connector.emulators.google.cell_requests import write_mask
from connector.emulators.google.errors import Refusal
from connector.emulators.google.model import Book, Dimension, Tag
from connector.emulators.google.ranges import dimension_range, matching_tags, tab_of
from connector.emulators.google.render import tag_resource

Body = Mapping[str, Any]


def create_developer_metadata(book: Book, body: Body) -> Body:
    data = body.get("developerMetadata") or {}
    if not data.get("metadataKey"):
        raise Refusal("metadataKey must be specified.")
    if data.get("visibility") not in {"DOCUMENT", "PROJECT"}:
        raise Refusal("visibility must be specified.")
    sheet_id, dimension, line = _place(book, data.get("location") or {})
    tag_id = int(data.get("metadataId") or 0) or _free_id(book)
    value = data.get("metadataValue") or ""
    tag = Tag(tag_id, data["metadataKey"], value, data["visibility"], sheet_id, dimension, line)
    book.add_tag(tag)
    return {"developerMetadata": tag_resource(book, tag)}


def _free_id(book: Book) -> int:
    while (number := secrets.randbelow(2**31 - 1) + 1) in book.tags:
        pass
    return number


def _place(book: Book, location: Body) -> tuple[int | None, Dimension | None, int | None]:
    """Tab, dimension and line of a `DeveloperMetadataLocation`."""
    if location.get("spreadsheet"):
        return None, None, None
    if "dimensionRange" in location:
        tab, dimension, start, end = dimension_range(book, location["dimensionRange"])
        if end != start + 1:
            raise Refusal("dimensionRange must represent a single row or column.")
        lines = tab.lines(dimension)
        if start >= len(lines):
            raise Refusal(f"dimensionRange is outside of the grid: index {start} of {len(lines)}.")
        return tab.id, dimension, lines[start]
    if "sheetId" in location:
        return tab_of(book, location, "sheet").id, None, None
    raise Refusal("location must be specified.")


def delete_developer_metadata(book: Book, body: Body) -> Body:
    gone = _looked_up(book, body.get("dataFilter") or {})
    reply = [tag_resource(book, tag) for tag in gone]
    for tag in gone:
        del book.tags[tag.id]
    return {"deletedDeveloperMetadata": reply} if reply else {}


def update_developer_metadata(book: Book, body: Body) -> Body:
    mask = write_mask(body, "DeveloperMetadata")
    data = body.get("developerMetadata") or {}
    names = {"key": "metadataKey", "value": "metadataValue", "visibility": "visibility"}
    changes: dict[str, Any] = {name: data.get(field) or "" for name, field in names.items() if mask.wants(field)}
    if mask.wants("location"):
        place = _place(book, data.get("location") or {})
        changes.update(zip(("sheet_id", "dimension", "line"), place, strict=True))
    found = [tag for each in body.get("dataFilters") or [] for tag in _looked_up(book, each)]
    for tag in found:
        book.tags[tag.id] = replace(tag, **changes)
    reply = [tag_resource(book, book.tags[tag.id]) for tag in found]
    return {"developerMetadata": reply} if reply else {}


def _looked_up(book: Book, data_filter: Body) -> list[Tag]:
    lookup = data_filter.get("developerMetadataLookup")
    if lookup is None:
        raise Refusal("The emulator takes a developerMetadataLookup only.")
    return matching_tags(book, lookup)


HANDLERS: dict[str, Callable[[Book, Body], Body | None]] = {
    "createDeveloperMetadata": create_developer_metadata,
    "deleteDeveloperMetadata": delete_developer_metadata,
    "updateDeveloperMetadata": update_developer_metadata,
}
