"""How a cell looks on the page for people: its own format, then the first rule of the tab that it meets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from connector.emulators.google.cells import Stored, rest_of, value_of
from connector.emulators.google.model import Tab


def style_of(tab: Tab, row: int, column: int, stored: Stored) -> str:
    """CSS for one cell; only colours and weight, and nothing that a cell's text could shape."""
    look = rest_of(stored).get("userEnteredFormat", {})
    rule = next(_met(tab, row, column, stored), {})
    colour = rule.get("backgroundColorStyle") or look.get("backgroundColorStyle") or {}
    parts = [f"background:{_css(colour['rgbColor'])}"] if "rgbColor" in colour else []
    if look.get("textFormat", {}).get("bold"):
        parts.append("font-weight:bold")
    return ";".join(parts)


def _met(tab: Tab, row: int, column: int, stored: Stored) -> Iterator[Mapping[str, Any]]:
    """The formats of the rules that a cell meets; of the conditions only TEXT_EQ is looked at."""
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
    """One line for everything that floats over the cells or hides behind them."""
    grid = [f"{name}: {value}" for name, value in tab.grid.items() if value]
    views = [f"filter view: {view.get('title', '')}" for view in tab.objects.get("filterViews", [])]
    warned = [f"protected: {each.get('range')}" for each in tab.objects.get("protectedRanges", [])]
    charts = [f"chart: {each['spec'].get('title', '')}" for each in tab.objects.get("charts", [])]
    return [*grid, *views, *warned, *charts]
