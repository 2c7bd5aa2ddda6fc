"""HTML pages: a spreadsheet whose cells a visitor can edit, and the form for one cell."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html import escape
from typing import Any

from connector.emulators.google.cells import Formula, Stored, data_of, link_of, rest_of, value_of
from connector.emulators.google.model import Book, Tab
from connector.emulators.google.ranges import letters
from connector.emulators.page import form_page, live_page

_STYLE = (
    "body{font:14px sans-serif}table{border-collapse:collapse}td,th{border:1px solid #ccc;padding:2px 6px}"
    "h1,h2,p{overflow-wrap:anywhere}div{overflow-x:auto}small{display:block;color:#555}"
    "a.cell{color:inherit;text-decoration:none;display:block;min-width:2em;min-height:1.2em}"
    "a.cell{scroll-margin:6em}a.cell:hover,a.cell:focus{outline:2px solid #1a73e8}a.choose{color:#1a73e8}"
)
_FORM_STYLE = (
    "body{font:16px sans-serif;max-width:40em;margin:2em auto;padding:0 1em}label{display:block;font-weight:bold}"
    "select,textarea,button{font:inherit;padding:.3em}textarea{width:100%;height:5em}"
)
_ROWS = 500
_FORMULA = 24
"""Characters of a formula that a cell shows."""
_HELP = "An emulated Google sheet. Open a cell to edit it."
_CHOOSE = "▾"
"""Shown in an empty cell with choices."""
_ADD = "+"
"""Shown in an empty header."""


NEW_LINE = 0
"""The line of a column that a visitor adds; no column has it."""


@dataclass(frozen=True, slots=True)
class Place:
    """A cell by its lines, which stay the same when rows and columns are inserted, deleted or moved. The column
    `NEW_LINE` is the one after the last.
    """

    row_line: int
    column_line: int

    @property
    def anchor(self) -> str:
        """The id of the cell in the page."""
        return f"c{self.row_line}-{self.column_line}"

    def find(self, book: Book) -> tuple[Tab, int, int] | None:
        """Returns the tab, the row and the column now; `None` when one of the lines was deleted."""
        for tab in book.tabs:
            columns = [*tab.column_lines, NEW_LINE]
            if self.row_line in tab.row_lines and self.column_line in columns:
                return tab, tab.row_lines.index(self.row_line), columns.index(self.column_line)
        return None


def page(book: Book) -> str:
    """Returns the first rows of every visible tab as tables, with an empty column that the visitor may add.

    All text is escaped, and only http and https links are links.
    """
    tabs = "".join(_table(book, tab) for tab in book.tabs if not tab.properties.get("hidden"))
    return live_page(book.title, _STYLE, f"<h1>{escape(book.title)}</h1><p>{_HELP}</p>{tabs}")


def form(book: Book, tab: Tab, row: int, column: int) -> str:
    """Returns the form for a cell: a drop-down with its choices, or a text."""
    text, choices = shown_text(tab.at(row, column)), choices_of(tab, row, column)
    label = f"{shown_text(tab.at(0, column)) or 'Cell'} ({letters(column)}{row + 1})" if row else "Header"
    about = f"<p>{escape(shown_text(tab.at(row, 0)))}</p>" if row and column else ""
    body = (
        f"<h1>{escape(tab.title)}</h1>{about}<form method=post><label>{escape(label)} {_input(text, choices)}</label>"
        f'<p><button>Save</button> <a href="/view/{escape(book.id)}">Cancel</a></p></form>'
    )
    return form_page(label, _FORM_STYLE, body)


def _input(text: str, choices: list[str]) -> str:
    if not choices:
        return f"<textarea name=value autofocus>\n{escape(text)}</textarea>"
    offered = ["", *choices, *([text] if text not in ["", *choices] else [])]
    options = "".join(
        f'<option value="{escape(each)}"{" selected" if each == text else ""}>{escape(each)}</option>'
        for each in offered
    )
    return f"<select name=value autofocus>{options}</select>"


def choices_of(tab: Tab, row: int, column: int) -> list[str]:
    """Returns the choices of the drop-down of a cell; none when it has no drop-down."""
    bodies = tab.objects.get("dataValidations", [])
    rules = [each.get("rule", {}) for each in bodies if _covers(each.get("range", {}), row, column)]
    condition = rules[-1].get("condition", {}) if rules else {}
    if condition.get("type") != "ONE_OF_LIST":
        return []
    return [each["userEnteredValue"] for each in condition.get("values", [])]


def shown_text(stored: Stored) -> str:
    """Returns the text that a cell shows; of a formula, which the emulator does not compute, the formula."""
    value = value_of(stored)
    return data_of(stored).get("formattedValue") or ("" if value is None else str(value))


def _table(book: Book, tab: Tab) -> str:
    rows = tab.rows[:_ROWS]
    while rows and all(value_of(stored) is None for stored in rows[-1]):
        rows = rows[:-1]
    width = max(map(len, rows), default=0) + 1
    head = "<th></th>" + "".join(f"<th>{letters(column)}</th>" for column in range(width))
    body = "".join(_row(book, tab, number, width) for number in range(len(rows)))
    size = f"{tab.row_count} rows, {tab.column_count} columns"
    size = "; ".join([size, *map(escape, objects_of(tab))])
    title = escape(tab.title)
    return f'<h2>{title}</h2><p>{size}</p><div><table id="{title}"><tr>{head}</tr>{body}</table></div>'


def _row(book: Book, tab: Tab, number: int, width: int) -> str:
    cells = "".join(_cell(book, tab, number, column) for column in range(width))
    return f"<tr><th>{number + 1}</th>{cells}</tr>"


def _cell(book: Book, tab: Tab, row: int, column: int) -> str:
    stored = tab.at(row, column)
    style = style_of(tab, row, column, stored)
    note = str(rest_of(stored).get("note", ""))
    inner = _content(book, tab, row, column) + (f"<small>{escape(note)}</small>" if note else "")
    return f'<td style="{style}">{inner}</td>' if style else f"<td>{inner}</td>"


def _content(book: Book, tab: Tab, row: int, column: int) -> str:
    """Returns the content of a cell as a link to its form, or as the link that it is."""
    if row and column == tab.column_count:
        return ""  # a new column begins with its header
    stored = tab.at(row, column)
    text, link = shown_text(stored), link_of(stored) or ""
    if link.startswith(("http://", "https://")):
        return f'<a href="{escape(link)}" rel="noreferrer">{escape(text)}</a>'
    place = Place(tab.row_lines[row], [*tab.column_lines, NEW_LINE][column])
    address = f"/view/{escape(book.id)}/cell/{place.row_line}/{place.column_line}"
    has_choices = not text and bool(choices_of(tab, row, column))
    shown = _CHOOSE if has_choices else text or (_ADD if row == 0 else "")
    title = ""
    if isinstance(value_of(stored), Formula) and len(text) > _FORMULA:
        title, shown = f' title="{escape(text)}"', f"{text[:_FORMULA]}…"
    about = f' aria-label="{letters(column)}{row + 1}, empty"' if not text else ""
    kind = "cell choose" if has_choices else "cell"
    return f'<a class="{kind}" id="{place.anchor}" href="{address}"{title}{about}>{escape(shown)}</a>'


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
