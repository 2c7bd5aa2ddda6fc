"""A page that shows a spreadsheet to a person."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from tests.emulators.google.cells import Stored, data_of, link_of, value_of
from tests.emulators.google.model import Book, Tab
from tests.emulators.google.ranges import letters

_STYLE = "body{font:14px sans-serif}table{border-collapse:collapse}td,th{border:1px solid #ccc;padding:2px 6px}"
_ROWS = 500


def page(book: Book) -> str:
    """The first rows of every tab as tables; all text escaped, links only where they are http or https."""
    tabs = "".join(_table(tab) for tab in book.tabs)
    title = escape(book.title)
    head = f'<meta charset="utf-8"><meta http-equiv="refresh" content="2"><title>{title}</title><style>{_STYLE}</style>'
    return f"<!doctype html><html><head>{head}</head><body><h1>{title}</h1>{tabs}</body></html>"


def _table(tab: Tab) -> str:
    rows = tab.rows[:_ROWS]
    while rows and not rows[-1]:
        rows = rows[:-1]
    width = max(map(len, rows), default=0)
    head = "<th></th>" + "".join(f"<th>{letters(column)}</th>" for column in range(width))
    body = "".join(_row(number, row) for number, row in enumerate(rows, 1))
    size = f"{tab.row_count} rows, {tab.column_count} columns"
    return f"<h2>{escape(tab.title)}</h2><p>{size}</p><table><tr>{head}</tr>{body}</table>"


def _row(number: int, cells: Iterable[Stored]) -> str:
    return f"<tr><th>{number}</th>{''.join(f'<td>{_content(stored)}</td>' for stored in cells)}</tr>"


def _content(stored: Stored) -> str:
    value = value_of(stored)
    text = escape(data_of(stored).get("formattedValue") or ("" if value is None else str(value)))
    link = link_of(stored) or ""
    if link.startswith(("http://", "https://")):
        return f'<a href="{escape(link)}" rel="noreferrer">{text}</a>'
    return text
