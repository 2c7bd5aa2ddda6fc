"""The workbook as people left it: read without loss, its tab found, its number read."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from io import BytesIO
from typing import Any

import openpyxl
from openpyxl.packaging.custom import IntProperty
from openpyxl.workbook import Workbook
from openpyxl.worksheet.worksheet import Worksheet

from connector.sink import SinkBroken
from sinks.table import KEY
from sinks.workbook.look import dress
from sinks.workbook.memory import Order
from sinks.workbook.tab import Tab, find_header, likely_header, place_columns, renamed_header
from sinks.workbook.unsupported_features import find_losses

UNPACKED_MAX_BYTES = 256 * 1024 * 1024
"""All parts unpacked; a larger file costs too much memory."""

FLUSH_PROPERTY = "connector_flush"
"""Custom document property with the number of the last rewrite; office programs keep it."""


def new_book() -> Workbook:
    """A workbook without any tab."""
    book = openpyxl.Workbook()
    book.remove(book.worksheets[0])
    return book


def load(content: bytes, *, is_own: bool = False) -> Workbook:
    """The workbook in a file with this content; `is_own` says that the sink wrote it and nobody saved it since.

    Raises `SinkBroken` when it cannot be read, or would lose something by a rewrite.
    """
    try:
        _refuse_large(content)
        return _load(content) if is_own else _load_checked(content)
    except SinkBroken:
        raise
    except Exception as error:
        raise SinkBroken(
            f"the workbook cannot be read ({type(error).__name__})",
            "repair it in an office program, or move it away: a new one is made and filled",
        ) from error


def _refuse_large(content: bytes) -> None:
    with zipfile.ZipFile(BytesIO(content)) as archive:
        if sum(part.file_size for part in archive.infolist()) > UNPACKED_MAX_BYTES:
            raise SinkBroken("the workbook is too large", "keep other data in another file, or use google_sheets")


def _load(content: bytes) -> Workbook:
    return openpyxl.load_workbook(BytesIO(content), rich_text=True)


def _load_checked(content: bytes) -> Workbook:
    loaded: list[Workbook] = []

    def rewrite() -> bytes:
        loaded.append(_load(content))
        return to_bytes(loaded[0])

    losses = find_losses(content, rewrite)
    if losses:
        raise SinkBroken(
            f"a rewrite of the workbook would drop {losses}",
            "remove it, or move it to another file that refers to this one; the sink then resumes by itself",
        )
    return loaded[0]


def to_bytes(book: Workbook) -> bytes:
    """The content of the file that holds the workbook."""
    file = BytesIO()
    book.save(file)
    return file.getvalue()


def open_tab(book: Workbook, order: Order, known: Sequence[str]) -> Tab:
    """The tab with all its columns; made when there is none. `known` are the fields that had a column before: with
    any, a missing tab or key column is people's doing and not made again.
    """
    sheet = _find_sheet(book, order, known)
    header = _known_header(sheet, order) if known else likely_header(sheet, order.columns)
    if header is None and known:
        raise SinkBroken(
            "the column that names the interview of each row is gone",
            f'give that column its title "{_key_title(order)}" again, or move the file away: a new one is made',
        )
    columns = place_columns(sheet, header or 1, order.columns, known)
    if header is None:
        dress(sheet, order.columns)
    return Tab(sheet, header or 1, columns)


def _known_header(sheet: Worksheet, order: Order) -> int | None:
    return find_header(sheet, order.columns) or renamed_header(sheet, order.memory.rows)


def _find_sheet(book: Workbook, order: Order, known: Sequence[str]) -> Worksheet:
    titled = [sheet for sheet in book.worksheets if sheet.title.casefold() == order.worksheet.casefold()]
    if titled:
        return titled[0]
    if not known:
        made: Worksheet = book.create_sheet(order.worksheet)
        return made
    renamed = [sheet for sheet in book.worksheets if _known_header(sheet, order) is not None]
    if len(renamed) != 1:
        raise SinkBroken(
            f'the tab "{order.worksheet}" is gone',
            "give the tab its name again, or move the file away: a new one is made and filled",
        )
    return renamed[0]


def _key_title(order: Order) -> str:
    return next(column.title for column in order.columns if column.field == KEY)


def flush_number(book: Workbook) -> int | None:
    """The number of the last rewrite of the file; LibreOffice keeps whole numbers as 7.0."""
    found = [prop.value for prop in _properties(book) if prop.name == FLUSH_PROPERTY]
    return int(found[0]) if found and isinstance(found[0], int | float) else None


def stamp(book: Workbook, number: int) -> None:
    properties = _properties(book)
    if FLUSH_PROPERTY in properties.names:
        del properties[FLUSH_PROPERTY]
    properties.append(IntProperty(name=FLUSH_PROPERTY, value=number))
    book.calculation.fullCalcOnLoad = True  # a rewrite keeps people's formulas but not their last results


def _properties(book: Workbook) -> Any:
    return book.custom_doc_props  # type: ignore[attr-defined]  # the stubs miss it
