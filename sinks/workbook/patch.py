"""Changes and adds rows in the XML of a file that the sink wrote, without openpyxl, which takes seconds for thousands
of rows.

A file that no program saved since the last rewrite has the form in which openpyxl writes XML. So single cells can be
replaced in it, and all other bytes stay as they are. `NotPatchable` is raised where more is to be done, or where a part
does not have the expected form. Then the file is rewritten with openpyxl.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NoReturn, TypeVar
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape, quoteattr, unescape

from openpyxl.styles.numbers import BUILTIN_FORMATS, is_date_format
from openpyxl.utils import column_index_from_string, get_column_letter
from openpyxl.utils.datetime import to_excel

from sinks.spreadsheet.columns import KEY, Column
from sinks.spreadsheet.values import LINK_TEXT, CellKind, days_since
from sinks.workbook.file import FLUSH_PROPERTY
from sinks.workbook.package import Package, local_name, relationships_part
from sinks.workbook.state import RewriteRequest, Written
from sinks.workbook.tab import (
    DATE_FORMAT,
    DAYS_FORMAT,
    LINK_COLOUR,
    NAME_PREFIX,
    NAMED_CELL,
    TEXT_FORMAT,
    bounds,
    cell_text,
)

_HYPERLINK = "http://schemas.openxmlformats.org/officeDocument/2006/relationships/hyperlink"
_RELATIONSHIPS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PROPERTIES = "docProps/custom.xml"  # where openpyxl writes it
_ROW = re.compile(rb'<row r="(\d+)"[^>]*?(?:/>|>(.*?)</row>)', re.DOTALL)
_CELL = re.compile(rb'<c r="([A-Z]+)\d+"([^>]*?)(?:/>|>.*?</c>)', re.DOTALL)
_POSITION = "position_name"
_COLUMN = rb'<c r="%s(\d+)"[^>]*?(?:/>|>(.*?)</c>)'
_TEXT = re.compile(rb"<is><t[^>]*>([^<]*)</t></is>")
_STYLE = re.compile(rb' s="(\d+)"')
_FILTER = re.compile(r'(<autoFilter ref=")([A-Z]+\d+:[A-Z]+\d+)"')
_DIMENSION = re.compile(r'(<dimension ref="[A-Z]+\d+:[A-Z]+)\d+"')

_Found = TypeVar("_Found")


class NotPatchable(Exception):
    """The file has to be rewritten with openpyxl."""


class PatchedTab:
    """The table in the XML of a file: `columns` maps a field to its column, `rows` the text of a key to its row.

    Raises `NotPatchable`.
    """

    def __init__(self, package: Package, request: RewriteRequest) -> None:
        if _is_more_than_cells(request):
            raise NotPatchable
        self._package = package
        self._sheets = list(package.sheets())
        self._title = _expected(next((title for title in self._sheets if title == request.worksheet), None))
        self._part = package.sheets()[self._title]
        self._xml = package.read(self._part)
        self.header, self.columns = self._place_columns({column.field for column in request.columns})
        if b"<mergeCells" in self._xml or KEY not in self.columns:
            raise NotPatchable
        self._rows = {int(found[1]): found for found in _ROW.finditer(self._xml)}
        self.rows = self._find_rows()
        self.last = max([self.header, *self.rows.values()])
        self._cells: dict[int, dict[int, tuple[CellKind, Written]]] = {}
        self._styles = _Styles.read(package)
        self._known_positions: set[str] | None = None
        self._link_text = request.words.gettext(LINK_TEXT)

    def write(self, row: int, column: Column, value: Written) -> None:
        """Writes one owned cell by the kind of its column."""
        if column.field == _POSITION and value is not None and cell_text(str(value)) not in self._positions():
            raise NotPatchable  # the Summary lists the positions
        self._cells.setdefault(row, {})[self.columns[column.field]] = column.kind, value

    def _positions(self) -> set[str]:
        if self._known_positions is None:
            self._known_positions = set(self._texts(self.columns[_POSITION]).values())
        return self._known_positions

    def make_room(self, count: int) -> int:
        """Adds `count` rows at the end of the table, and returns the first of them."""
        if not self.rows or self.last != max(self._rows) or b"<tablePart" in self._xml:
            raise NotPatchable
        first, self.last = self.last + 1, self.last + count
        return first

    def remove(self, keys: Iterable[str]) -> NoReturn:  # noqa: ARG002 - it removes nothing
        """Raises `NotPatchable`, because moving rows needs openpyxl."""
        raise NotPatchable

    def to_bytes(self, flush: int) -> bytes:
        """Returns the content of the file with the written cells. `flush` is the number of this rewrite."""
        replaced = [(self._rows[row].span(), self._row(row)) for row in sorted(self._cells) if row in self._rows]
        added = b"".join(self._row(row) for row in sorted(self._cells) if row not in self._rows)
        end = self._xml.index(b"</sheetData>")
        sheet = _spliced(self._xml, [*replaced, ((end, end), added)])
        parts = {_PROPERTIES: _numbered(self._package, flush)}
        if added:
            links, parts[relationships_part(self._part)] = self._add_links()
            sheet = sheet.replace(b"</hyperlinks>", links + b"</hyperlinks>")
            sheet, parts[self._package.workbook] = self._stretched(sheet)
        return self._package.replaced({self._part: sheet, **parts})

    def _place_columns(self, fields: set[str]) -> tuple[int, dict[str, int]]:
        """Finds the columns by the names that the last rewrite gave to their header cells."""
        place = str(self._sheets.index(self._title))
        names = [
            (name.get("name", "").removeprefix(NAME_PREFIX), _expected(NAMED_CELL.search(name.text or "")))
            for name in _elements(self._package.read(self._package.workbook), "definedName")
            if name.get("name", "").startswith(NAME_PREFIX) and name.get("localSheetId") == place
        ]
        ours = {field: (int(at[2]), column_index_from_string(at[1])) for field, at in names if field in fields}
        headers = {row for row, _ in ours.values()}
        if len(headers) != 1:
            raise NotPatchable
        return headers.pop(), {field: column for field, (_, column) in ours.items()}

    def _find_rows(self) -> dict[str, int]:
        rows: dict[str, int] = {}
        for row, text in self._texts(self.columns[KEY]).items():
            rows.setdefault(text, row)
        return rows

    def _texts(self, column: int) -> dict[int, str]:
        """Returns the texts of a column except its header, by row."""
        pattern = _COLUMN % get_column_letter(column).encode()
        cells = ((int(found[1]), found[2]) for found in re.finditer(pattern, self._xml, re.DOTALL))
        return {
            row: unescape(_expected(_TEXT.fullmatch(content))[1].decode())
            for row, content in cells
            if content and row != self.header
        }

    def _row(self, row: int) -> bytes:
        """Returns the XML of a row with its written cells."""
        found = self._rows.get(row)
        old, content = {}, b""
        if found is not None:
            content = found[2] or b""
            old = {column_index_from_string(cell[1].decode()): cell for cell in _CELL.finditer(content)}
            if sum(len(cell[0]) for cell in old.values()) != len(content):
                raise NotPatchable
        new = {
            column: self._cell(f"{get_column_letter(column)}{row}", old.get(column), *written)
            for column, written in self._cells[row].items()
        }
        cells = {column: cell[0] for column, cell in old.items()} | new
        inner = b"".join(cells[column] for column in sorted(cells))
        start = b'<row r="%d">' % row if found is None else found[0][: found[0].index(b">") + 1].replace(b" />", b">")
        return start + inner + b"</row>"

    def _cell(self, place: str, old: re.Match[bytes] | None, kind: CellKind, value: Written) -> bytes:
        if kind is CellKind.LINK and old is not None:
            raise NotPatchable  # its target is in another part
        style = _STYLE.search(old[2]) if old is not None else None
        number = self._styles.number(kind, int(style[1]) if style else 0, value)
        attribute = f' s="{number}"' if number else ""
        if not number and value is None:
            return b""
        start = f'<c r="{place}"{attribute}'
        if kind is CellKind.LINK:
            return _text_xml(start, self._link_text if value else None).encode()
        return _XML[kind](start, value).encode()

    def _add_links(self) -> tuple[bytes, bytes]:
        """Returns the elements of the links in the added rows, and the relationships of the tab with their targets."""
        part = relationships_part(self._part)
        relationships = self._package.read(part).decode() if part in self._package.names else ""
        last = max((int(number) for number in re.findall(r'Id="rId(\d+)"', relationships)), default=0)
        targets = {
            f"{get_column_letter(column)}{row}": str(value)
            for row, cells in self._cells.items()
            for column, (kind, value) in cells.items()
            if row not in self._rows and kind is CellKind.LINK and value
        }
        if targets and not (last and b"</hyperlinks>" in self._xml):
            raise NotPatchable
        ids = {place: f"rId{number}" for number, place in enumerate(targets, start=last + 1)}
        links = [f'<hyperlink xmlns:r="{_RELATIONSHIPS}" ref="{place}" r:id="{each}" />' for place, each in ids.items()]
        added = [
            f'<Relationship Type="{_HYPERLINK}" Target={quoteattr(targets[place])} TargetMode="External" Id="{each}" />'
            for place, each in ids.items()
        ]
        end = "</Relationships>"
        return "".join(links).encode(), relationships.replace(end, "".join(added) + end).encode()

    def _stretched(self, sheet: bytes) -> tuple[bytes, bytes]:
        """Returns the tab and the workbook, with the filter and the dimension extended to the last row."""
        start, middle, rest = sheet.partition(b"<sheetData>")
        rows, end, tail = rest.rpartition(b"</sheetData>")
        after, workbook = tail.decode(), self._package.read(self._package.workbook).decode()
        found = _FILTER.search(after)
        if found is not None:
            left, top, right, bottom = bounds(found[2])
            if top == self.header and bottom < self.last:
                after = f'{after[: found.start()]}{found[1]}{_ref(left, top, right, self.last)}"{after[found.end() :]}'
                old, new = (f"!{_fixed(left, top)}:{_fixed(right, last)}</definedName>" for last in (bottom, self.last))
                if workbook.count(old) != 1:
                    raise NotPatchable
                workbook = workbook.replace(old, new)
        before = _DIMENSION.sub(rf'\g<1>{self.last}"', start.decode())
        return b"".join((before.encode(), middle, rows, end, after.encode())), workbook.encode()


def _expected(found: _Found | None) -> _Found:
    """Returns the match. Raises `NotPatchable` without one."""
    if found is None:
        raise NotPatchable
    return found


def _is_more_than_cells(request: RewriteRequest) -> bool:
    """Whether the rewrite does more than changing cells and adding rows."""
    state = request.state
    same = request.zone == state.zone and {column.field for column in request.columns} == set(state.columns)
    comes_back = request.recreate and state.deleted
    return not same or bool(comes_back) or any(row.removed for row in request.rows.values())


def _spliced(content: bytes, parts: Sequence[tuple[tuple[int, int], bytes]]) -> bytes:
    """Returns the content with each span replaced; the spans are in order."""
    pieces, at = [], 0
    for (start, end), new in parts:
        pieces += [content[at:start], new]
        at = end
    return b"".join([*pieces, content[at:]])


def _numbered(package: Package, flush: int) -> bytes:
    """Returns the custom properties with the number of this rewrite."""
    pattern = rb'(name="%s"[^>]*><vt:i4>)\d+(</vt:i4>)' % FLUSH_PROPERTY.encode()
    content, count = re.subn(pattern, rb"\g<1>%d\g<2>" % flush, package.read(_PROPERTIES))
    if count != 1:
        raise NotPatchable
    return content


def _ref(left: int, top: int, right: int, bottom: int) -> str:
    return f"{get_column_letter(left)}{top}:{get_column_letter(right)}{bottom}"


def _fixed(column: int, row: int) -> str:
    return f"${get_column_letter(column)}${row}"


def _elements(content: bytes, name: str) -> list[ET.Element]:
    root = ET.fromstring(content)  # noqa: S314 - the sink wrote it
    return [element for element in root.iter() if local_name(element.tag) == name]


def _text_xml(start: str, value: Written) -> str:
    if value is None:
        return f"{start} />"
    return f'{start} t="inlineStr"><is><t xml:space="preserve">{escape(cell_text(str(value)))}</t></is></c>'


def _number_xml(start: str, value: Written) -> str:
    return f"{start} />" if value is None else f'{start} t="n"><v>{value!r}</v></c>'


def _time_xml(start: str, value: Written) -> str:
    return _number_xml(start, None if value is None else to_excel(datetime.fromisoformat(str(value))))  # type: ignore[no-untyped-call]  # missing from the stubs


def _days_since_xml(start: str, value: Written) -> str:
    return f"{start} />" if value is None else f"{start}><f>{days_since(int(value))[1:]}</f></c>"


_XML: Mapping[CellKind, Callable[[str, Written], str]] = {
    CellKind.TEXT: _text_xml,
    CellKind.NUMBER: _number_xml,
    CellKind.DATETIME: _time_xml,
    CellKind.DAYS_SINCE: _days_since_xml,
}


@dataclass(frozen=True, slots=True)
class _Styles:
    """The number formats of all cell formats, and the numbers of the plain cell formats that the sink uses."""

    formats: Sequence[str]
    plain: Mapping[str, int]
    link: int | None

    @classmethod
    def read(cls, package: Package) -> _Styles:
        [part] = [each.target for each in package.relationships(package.workbook) if each.type == "styles"]
        root = ET.fromstring(package.read(part))  # noqa: S314 - the sink wrote it
        parts = {local_name(child.tag): list(child) for child in root}
        own = {each.get("numFmtId"): each.get("formatCode", "") for each in parts.get("numFmts", [])}
        formats = [
            own.get(xf.get("numFmtId")) or BUILTIN_FORMATS[int(xf.get("numFmtId", 0))] for xf in parts["cellXfs"]
        ]
        link_fonts = {str(place) for place, font in enumerate(parts["fonts"]) if _is_link_font(font, parts["fonts"][0])}
        plain: dict[str, int] = {}
        links: list[int] = []
        for place, xf in enumerate(parts["cellXfs"]):
            if len(xf) or any(xf.get(name) not in {"0", None} for name in ("fillId", "borderId", "xfId")):
                continue
            if xf.get("fontId") == "0":
                plain.setdefault(formats[place], place)
            elif xf.get("fontId") in link_fonts and formats[place] == "General":
                links.append(place)
        return cls(formats, plain, next(iter(links), None))

    def number(self, kind: CellKind, present: int, value: Written) -> int:
        """Returns the number of the cell format in which a cell with the format `present` shows a value."""
        code = self.formats[present]
        if kind is CellKind.TEXT and value is not None and code == "General":
            return self._instead(present, TEXT_FORMAT)
        if kind is CellKind.DATETIME and not is_date_format(code):
            return self._instead(present, DATE_FORMAT)
        if kind is CellKind.DAYS_SINCE and value is not None and code == "General":
            return self._instead(present, DAYS_FORMAT)
        if kind is CellKind.LINK and value is not None:
            return _expected(self.link)
        return present

    def _instead(self, present: int, code: str) -> int:
        return _expected(self.plain.get(code) if present == 0 else None)


def _is_link_font(font: ET.Element, default: ET.Element) -> bool:
    marks, usual = ({local_name(child.tag): child.attrib for child in each} for each in (font, default))
    colour, line = marks.pop("color", {}).get("rgb", ""), marks.pop("u", {}).get("val")
    usual.pop("color", None)
    return colour.endswith(LINK_COLOUR) and line == "single" and marks == usual
