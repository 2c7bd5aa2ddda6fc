"""Where the owned columns are: by their tag, then by their header's text; what is missing is added at the right. Pure.

A column with a tag is held by it, whatever users call it and wherever they move it. Everything without a tag and
without a text of the sink belongs to users.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from sinks.google_sheets import api_requests
from sinks.google_sheets.api_requests import Request
from sinks.google_sheets.sheet_view import TabView
from sinks.spreadsheet.columns import Column, header_key
from sinks.spreadsheet.values import CellKind

_PIXELS: Mapping[CellKind, int] = {CellKind.TEXT: 180, CellKind.NUMBER: 80, CellKind.DATETIME: 140, CellKind.LINK: 80}


@dataclass(frozen=True, slots=True)
class Layout:
    """The owned columns of a tab.

    `at` says where a field's column is and `tags` the tag that holds it; a field in `at` without a tag was found by
    its header. `missing` have no column yet. `gone` had one that users deleted. `wrong` are tags to take off.
    """

    at: Mapping[str, int] = field(default_factory=dict)
    tags: Mapping[str, int] = field(default_factory=dict)
    missing: Sequence[Column] = ()
    gone: Sequence[str] = ()
    wrong: Sequence[int] = ()

    @property
    def untagged(self) -> Sequence[str]:
        return [name for name in self.at if name not in self.tags]

    @property
    def settled(self) -> bool:
        """Whether every column is held by a tag, so that rows may be written."""
        return not self.untagged and not self.wrong


def find_columns(
    view: TabView, columns: Sequence[Column], known: Collection[str] = (), doubtful: Collection[str] = ()
) -> Layout:
    """The layout of a tab. `known` are the fields that had a tag before; without one now, users deleted the column.

    The tag of a `doubtful` field was put on a column that may have moved meanwhile; it is wrong unless the header is
    ours.
    """
    tagged, wrong = _by_tag(view, columns, doubtful)
    at = {name: index for name, (index, _) in tagged.items()}
    at |= _by_header(view, [column for column in columns if column.field not in at])
    left = [column for column in columns if column.field not in at]
    return Layout(
        at=at,
        tags={name: tag for name, (_, tag) in tagged.items()},
        missing=[column for column in left if column.field not in known],
        gone=[column.field for column in left if column.field in known],
        wrong=wrong,
    )


def _by_tag(
    view: TabView, columns: Sequence[Column], doubtful: Collection[str]
) -> tuple[Mapping[str, tuple[int, int]], Sequence[int]]:
    titles = {column.field: header_key(column.title) for column in columns}
    found: dict[str, tuple[int, int]] = {}
    wrong = []
    for index, tags in sorted(view.tags.items()):
        ours = [tag for tag in tags if tag.field in titles and tag.field not in found]
        for tag in ours[:1]:
            if tag.field not in doubtful or header_key(view.header[index]) == titles[tag.field]:
                found[tag.field] = (index, tag.id)
            else:
                wrong.append(tag.id)
    return found, wrong


def _by_header(view: TabView, columns: Sequence[Column]) -> Mapping[str, int]:
    """The leftmost column with the right text that carries no tag of the sink."""
    places = {
        header_key(text): index
        for index, text in reversed(list(enumerate(view.header)))
        if text.strip() and index not in view.tags
    }
    return {column.field: places[header_key(column.title)] for column in columns if header_key(column.title) in places}


def tag_requests(view: TabView, layout: Layout) -> list[Request]:
    """Puts tags on columns found by their header, and takes wrong ones off."""
    put = [api_requests.tag_column(view.sheet_id, layout.at[name], name) for name in layout.untagged]
    return [api_requests.prune(tag) for tag in layout.wrong] + put


def hold_requests(view: TabView, layout: Layout, width_tag: int) -> list[Request]:
    """Makes the batch fail unless every owned column still is where the view shows it."""
    held = [
        request
        for name, tag in layout.tags.items()
        for request in api_requests.hold_column(view.sheet_id, layout.at[name], name, tag)
    ]
    return held + api_requests.prove_width(view.sheet_id, view.width, width_tag) if held else []


def add_columns(view: TabView, layout: Layout) -> tuple[Layout, list[Request]]:
    """Adds the missing columns in new ones right of everything with a header, so that nothing is overwritten.

    Gives the layout as it will be.
    """
    if not layout.missing or cannot_add(view, layout):
        return layout, []
    start = _right_of_headers(view, layout)
    end = start + len(layout.missing)
    made = []
    if view.exists:
        made.append(api_requests.insert_columns(view.sheet_id, start, end, inherit=start == view.width))
    made += _dress(view, layout.missing, start)
    places = {column.field: index for index, column in enumerate(layout.missing, start)}
    return replace(layout, at={**layout.at, **places}, missing=()), made


def cannot_add(view: TabView, layout: Layout) -> bool:
    """Whether the header is protected where missing columns would go."""
    return bool(layout.missing) and view.protected.covers(view.header_row, _right_of_headers(view, layout))


def _right_of_headers(view: TabView, layout: Layout) -> int:
    filled = [index for index, text in enumerate(view.header) if text.strip()]
    return max([*filled, *layout.at.values()], default=-1) + 1


def _dress(view: TabView, columns: Sequence[Column], start: int) -> list[Request]:
    sheet_id = view.sheet_id
    made = [
        api_requests.header_cells(sheet_id, view.header_row, start, [column.title for column in columns]),
        api_requests.bold_header(sheet_id, view.header_row, start, start + len(columns)),
    ]
    has_rows = view.rows > view.header_row + 1
    for index, column in enumerate(columns, start):
        made.append(api_requests.tag_column(sheet_id, index, column.field))
        made.append(api_requests.column_width(sheet_id, index, _PIXELS[column.kind]))
        if column.kind is CellKind.DATETIME and (not view.exists or (has_rows and not view.protected)):
            made.append(api_requests.date_format(sheet_id, view.header_row + 1, None, index))
    return made
