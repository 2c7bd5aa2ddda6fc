"""An HTML page that shows a spreadsheet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from connector.emulators.google.cells import Formula, Stored, data_of, link_of, rest_of, value_of
from connector.emulators.google.model import Book, Tab
from connector.emulators.google.ranges import letters

_META = (
    '<meta charset="utf-8"><meta name="viewport" content="width=device-width"><meta http-equiv="refresh" content="2">'
)
_STYLE = (
    "body{font:14px sans-serif}table{border-collapse:collapse}td,th{border:1px solid #ccc;padding:2px 6px}"
    "h1,h2,p{overflow-wrap:anywhere}div{overflow-x:auto}"
)
_ROWS = 500
_FORMULA = 24
"""Characters of a formula that a cell shows."""


def page(book: Book) -> str:
    """Returns the first rows of every visible tab as tables. All text is escaped, and only http and https links are
    links.
    """
    tabs = "".join(_table(tab) for tab in book.tabs if not tab.properties.get("hidden"))
    title = escape(book.title)
    head = f"{_META}<title>{title}</title><style>{_STYLE}</style>"
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
    return f'<h2>{title}</h2><p>{size}</p><div><table id="{title}"><tr>{head}</tr>{body}</table></div>'


def _row(tab: Tab, number: int) -> str:
    cells = "".join(_cell(style_of(tab, number, at, stored), stored) for at, stored in enumerate(tab.rows[number]))
    return f"<tr><th>{number + 1}</th>{cells}</tr>"


def _cell(style: str, stored: Stored) -> str:
    return f'<td style="{style}">{_content(stored)}</td>' if style else f"<td>{_content(stored)}</td>"


def _content(stored: Stored) -> str:
    value = value_of(stored)
    text = escape(data_of(stored).get("formattedValue") or ("" if value is None else str(value)))
    if isinstance(value, Formula):  # the emulator computes nothing
        text = text if len(value) <= _FORMULA else f'<span title="{text}">{escape(value[:_FORMULA])}…</span>'
    link = link_of(stored) or ""
    if link.startswith(("http://", "https://")):
        return f'<a href="{escape(link)}" rel="noreferrer">{text}</a>'
    return text


def style_of(tab: Tab, row: int, column: int, stored: Stored) -> str:
    """Returns the CSS of a cell: colours and weight, independent of the text of the cell."""
    look = rest_of(stored).get("userEnteredFormat", {})
    rule = next(_met(tab, row, column, stored), {})
    colour = rule.get("backgroundColorStyle") or look.get("backgroundColorStyle") or {}
    parts = [f"background:{_css(colour['rgbColor'])}"] if "rgbColor" in colour else []
    if look.get("textFormat", {}).get("bold"):
        parts.append("font-weight:bold")
    return ";".join(parts)


def _met(tab: Tab, row: int, column: int, stored: Stored) -> Iterator[Mapping[str, Any]]:
    """Returns the formats of the conditional rules that a cell meets; only TEXT_EQ is supported."""
    for rule in tab.objects.get("conditionalFormats", []):
        boolean = rule.get("booleanRule", {})
        condition = boolean.get("condition", {})
        words = [each.get("userEnteredValue") for each in condition.get("values", [])]
        if condition.get("type") == "TEXT_EQ" and value_of(stored) in words:
            yield from (boolean.get("format", {}) for area in rule["ranges"] if _covers(area, row, column))


def _covers(area: Mapping[str, Any], row: int, column: int) -> bool:
    rows = range(area.get("startRowIndex", 0), area.get("endRowIndex", row + 1))
    columns = range(area.get("startColumnIndex", 0), area.get("endColumnIndex", column + 1))
    return row in rows and column in columns


def _css(rgb: Mapping[str, float]) -> str:
    red, green, blue = (round(float(rgb.get(name, 0)) * 255) for name in ("red", "green", "blue"))
    return f"rgb({red},{green},{blue})"


def objects_of(tab: Tab) -> list[str]:
    """Returns a line for each object that is not a cell, such as a chart or a note."""
    grid = [f"{name}: {value}" for name, value in tab.grid.items() if value]
    views = [f"filter view: {view.get('title', '')}" for view in tab.objects.get("filterViews", [])]
    warned = [f"protected ranges: {len(ranges)}"] if (ranges := tab.objects.get("protectedRanges", [])) else []
    charts = [f"chart: {each['spec'].get('title', '')}" for each in tab.objects.get("charts", [])]
    is_computed = any(isinstance(value_of(stored), Formula) for row in tab.rows for stored in row)
    formulas = ["formulas are shown as text; Google computes them"] if is_computed else []
    return [*grid, *views, *warned, *charts, *formulas]
