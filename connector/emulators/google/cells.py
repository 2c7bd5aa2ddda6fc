"""One cell: stored as its bare value, or as a `Cell` when it carries more than a value.

A bare value is text, a number, a boolean or a `Formula`; `None` is an empty cell. Stored cells never change. The end of
the module has the displayed text of numbers and dates.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, TypeAlias

import msgspec

from connector.emulators.google.errors import Refusal
from connector.emulators.google.masks import Mask, overlay, select

CELL_CHARACTERS = 50_000


class Formula(str):
    """The text of a formula with its `=`. It is stored and not computed."""

    __slots__ = ()


Value: TypeAlias = str | int | float | bool | None


class Cell(msgspec.Struct, frozen=True):
    """A value and the rest of its `CellData` (`userEnteredFormat`, `note`, …)."""

    value: Value
    rest: Mapping[str, Any]


Stored: TypeAlias = Value | Cell
Row: TypeAlias = tuple[Stored, ...]
_EMPTY: Mapping[str, Any] = {}


def value_of(stored: Stored) -> Value:
    return stored.value if isinstance(stored, Cell) else stored


def rest_of(stored: Stored) -> Mapping[str, Any]:
    return stored.rest if isinstance(stored, Cell) else _EMPTY


def cell(value: Value, rest: Mapping[str, Any]) -> Stored:
    return Cell(value, rest) if rest else value


def trimmed(cells: list[Stored]) -> Row:
    """The cells without the empty ones at the end."""
    while cells and cells[-1] is None:
        cells.pop()
    return tuple(cells)


def extended(value: Value) -> dict[str, Any]:
    """The `ExtendedValue` of a value."""
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, Formula):
        return {"formulaValue": str(value)}
    return {"stringValue": value} if isinstance(value, str) else {"numberValue": value}


def entered(data: Mapping[str, Any] | None) -> Value:
    """The value that an `ExtendedValue` enters; an empty text empties the cell."""
    if not data:
        return None
    if "stringValue" in data:
        return _checked(data["stringValue"]) or None
    if "formulaValue" in data:
        text = data["formulaValue"]
        if not text.startswith("="):
            raise Refusal("Formula must begin with '='.")
        return Formula(_checked(text))
    value: Value = data.get("numberValue", data.get("boolValue"))
    return value


def _checked(text: str) -> str:
    units = len(text)
    if units * 2 > CELL_CHARACTERS:
        units += sum(letter > "\uffff" for letter in text)  # Google counts UTF-16 units
    if units > CELL_CHARACTERS:
        raise Refusal(f"Your input contains more than the maximum of {CELL_CHARACTERS} characters in a single cell.")
    return text


def link_of(stored: Stored) -> str | None:
    link = rest_of(stored).get("userEnteredFormat", {}).get("textFormat", {}).get("link", {})
    uri: str | None = link.get("uri")
    return uri


def data_of(stored: Stored) -> dict[str, Any]:
    """The whole `CellData`, read-only fields included (a formula has no effective value: nothing is computed)."""
    value, rest = value_of(stored), rest_of(stored)
    data: dict[str, Any] = {}
    if value is not None:
        data["userEnteredValue"] = extended(value)
        if not isinstance(value, Formula):
            data["effectiveValue"] = data["userEnteredValue"]
            data["formattedValue"] = formatted(value, rest.get("userEnteredFormat", {}).get("numberFormat", {}))
    data.update(rest)
    if "userEnteredFormat" in rest:
        data["effectiveFormat"] = rest["userEnteredFormat"]
    if uri := link_of(stored):
        data["hyperlink"] = uri
    return data


Renderer: TypeAlias = Callable[[Stored], dict[str, Any]]


def renderer(mask: Mask) -> Renderer:
    """Makes the function that shows a cell through a mask of `CellData`."""
    if (
        mask.fields is not None
        and set(mask.fields) == {"userEnteredValue"}
        and mask.sub("userEnteredValue").fields is None
    ):
        return _render_value
    return lambda stored: select(mask, data_of(stored))


def _render_value(stored: Stored) -> dict[str, Any]:
    if type(stored) is str:  # the most frequent case; saves two calls per cell of a long column
        return {"userEnteredValue": {"stringValue": stored}}
    value = value_of(stored)
    return {} if value is None else {"userEnteredValue": extended(value)}


Writer: TypeAlias = Callable[[Stored, Mapping[str, Any]], Stored]
_READ_ONLY = ("effectiveValue", "formattedValue", "effectiveFormat", "hyperlink")


def writer(mask: Mask) -> Writer:
    """Makes the function that writes a `CellData` through a mask onto a cell."""
    if mask.fields is not None and set(mask.fields) == {"userEnteredValue"}:
        return _write_value
    return lambda stored, data: _write(stored, data, mask)


def _write_value(stored: Stored, data: Mapping[str, Any]) -> Stored:
    value = entered(data.get("userEnteredValue"))
    return Cell(value, _without_runs(stored.rest)) if isinstance(stored, Cell) else value


def _without_runs(rest: Mapping[str, Any]) -> Mapping[str, Any]:
    """A new value erases the formats of parts of the old text (Sheets API, CellData.textFormatRuns)."""
    if "textFormatRuns" not in rest:
        return rest
    return {name: item for name, item in rest.items() if name != "textFormatRuns"}


def _write(stored: Stored, data: Mapping[str, Any], mask: Mask) -> Stored:
    value, rest = value_of(stored), rest_of(stored)
    if mask.wants("userEnteredValue"):
        value, rest = entered(data.get("userEnteredValue")), _without_runs(rest)
    new = overlay(rest, data, mask)
    for name in ("userEnteredValue", *_READ_ONLY):
        new.pop(name, None)
    return cell(value, new)


def inherited(stored: Stored) -> Stored:
    """Returns what a new row or column gets from its neighbour: the format, not the content."""
    look = rest_of(stored)
    kept = {name: look[name] for name in ("userEnteredFormat", "dataValidation") if name in look}
    if link_of(stored):
        kept["userEnteredFormat"] = overlay(kept["userEnteredFormat"], {}, _LINK)
        kept = {name: item for name, item in kept.items() if item}
    return cell(None, kept)


_LINK = Mask({"textFormat": Mask({"link": Mask(None)})})


_EPOCH = datetime(1899, 12, 30)  # noqa: DTZ001 - serial numbers carry no zone
_DEFAULT_PATTERNS = {"DATE": "m/d/yyyy", "TIME": "h:mm:ss am/pm", "DATE_TIME": "m/d/yyyy h:mm:ss"}
_PART = re.compile(r"yyyy|yy|mm|m|dd|d|hh|h|ss|s", re.IGNORECASE)


def formatted(value: str | float | bool, number_format: Mapping[str, Any]) -> str:
    """Returns the displayed text in the locale en_US. Only patterns of dates and times are supported."""
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, str):
        return value
    kind = number_format.get("type", "")
    if kind in _DEFAULT_PATTERNS:
        return _dated(value, number_format.get("pattern") or _DEFAULT_PATTERNS[kind])
    return f"{value:.10g}" if abs(value) < 1e15 else f"{value:.5E}"


def is_date(number_format: Mapping[str, Any]) -> bool:
    return number_format.get("type") in _DEFAULT_PATTERNS


def _dated(serial: float, pattern: str) -> str:
    moment = _EPOCH + timedelta(seconds=round(serial * 86400))
    last = [""]

    def part(match: re.Match[str]) -> str:
        name = match[0].lower()
        minutes = name.startswith("m") and last[0].startswith("h")
        last[0] = name
        return _number(moment, "n" * len(name) if minutes else name)

    return _PART.sub(part, pattern)


def _number(moment: datetime, name: str) -> str:
    parts = {"y": moment.year, "m": moment.month, "d": moment.day, "h": moment.hour, "n": moment.minute}
    number = parts.get(name[0], moment.second)
    return str(number % 100 if name == "yy" else number).zfill(len(name))
