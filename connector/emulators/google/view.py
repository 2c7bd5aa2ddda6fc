"""A page that shows a spreadsheet to a person."""

from __future__ import annotations

from html import escape

from connector.emulators.google.cells import Stored, data_of, link_of, value_of
from connector.emulators.google.looks import objects_of, style_of
from connector.emulators.google.model import Book, Tab
from connector.emulators.google.ranges import letters

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
    while rows and all(value_of(stored) is None for stored in rows[-1]):
        rows = rows[:-1]
    width = max(map(len, rows), default=0)
    head = "<th></th>" + "".join(f"<th>{letters(column)}</th>" for column in range(width))
    body = "".join(_row(tab, number) for number in range(len(rows)))
    size = f"{tab.row_count} rows, {tab.column_count} columns"
    size = "; ".join([size, *map(escape, objects_of(tab))])
    title = escape(tab.title)
    return f'<h2>{title}</h2><p>{size}</p><table id="{title}"><tr>{head}</tr>{body}</table>'


def _row(tab: Tab, number: int) -> str:
    cells = "".join(_cell(style_of(tab, number, at, stored), stored) for at, stored in enumerate(tab.rows[number]))
    return f"<tr><th>{number + 1}</th>{cells}</tr>"


def _cell(style: str, stored: Stored) -> str:
    return f'<td style="{style}">{_content(stored)}</td>' if style else f"<td>{_content(stored)}</td>"


def _content(stored: Stored) -> str:
    value = value_of(stored)
    text = escape(data_of(stored).get("formattedValue") or ("" if value is None else str(value)))
    link = link_of(stored) or ""
    if link.startswith(("http://", "https://")):
        return f'<a href="{escape(link)}" rel="noreferrer">{text}</a>'
    return text
