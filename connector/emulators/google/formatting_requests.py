"""Formatting requests. They are checked for their tab and for ids in use, and stored without further effect."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from connector.emulators.google.errors import Refusal
from connector.emulators.google.model import Book, Tab
from connector.emulators.google.ranges import grid_range, tab_of

Body = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ObjectKind:
    """An object with an id: its field in the request, its list in `Sheet`, and the name of its id."""

    field: str
    items: str
    id: str
    word: str


FILTER_VIEW = ObjectKind("filter", "filterViews", "filterViewId", "filter view")
PROTECTED_RANGE = ObjectKind("protectedRange", "protectedRanges", "protectedRangeId", "protected range")
CHART = ObjectKind("chart", "charts", "chartId", "chart")
BANDING = ObjectKind("bandedRange", "bandedRanges", "bandedRangeId", "banded range")


def _adder(kind: ObjectKind) -> Callable[[Book, Body], Body]:
    def add(book: Book, body: Body) -> Body:
        data = dict(body.get(kind.field) or {})
        tab = _tab_of_object(book, data)
        data[kind.id] = data.get(kind.id) or secrets.randbelow(2**31 - 1) + 1
        _refuse_id(kind, data[kind.id], [each for other in book.tabs for each in other.objects.get(kind.items, [])])
        tab.objects.setdefault(kind.items, []).append(data)
        return {kind.field: data}

    return add


def _deleter(kind: ObjectKind) -> Callable[[Book, Body], None]:
    def delete(book: Book, body: Body) -> None:
        for tab in book.tabs:
            for item in tab.objects.get(kind.items, []):
                if item[kind.id] == body.get(kind.id):
                    tab.objects[kind.items].remove(item)
                    return
        raise Refusal(f"No {kind.word} with id: {body.get(kind.id)}")

    return delete


def _refuse_id(kind: ObjectKind, number: object, items: list[dict[str, Any]]) -> None:
    if any(item[kind.id] == number for item in items):
        raise Refusal(f"Cannot add {kind.word} with ID: {number}, a {kind.word} with that ID already exists.")


def _tab_of_object(book: Book, data: Body) -> Tab:
    if "position" in data:
        anchor = data["position"].get("overlayPosition", {}).get("anchorCell")
        if anchor is None:
            raise Refusal("The emulator takes charts with an overlayPosition only.")
        return tab_of(book, anchor)
    tab, bounds = grid_range(book, data.get("range") or {})
    bounds.clamp(tab)
    return tab


def add_conditional_format_rule(book: Book, body: Body) -> None:
    rule, index = body.get("rule") or {}, int(body.get("index") or 0)
    ranges = rule.get("ranges") or []
    if not ranges:
        raise Refusal("rule.ranges must not be empty.")
    tabs = [grid_range(book, each)[0] for each in ranges]
    rules = tabs[0].objects.setdefault("conditionalFormats", [])
    if index > len(rules):
        raise Refusal(f"Cannot add a rule at index {index}: there are only {len(rules)} rules.")
    rules.insert(index, rule)


def delete_conditional_format_rule(book: Book, body: Body) -> Body:
    rules = tab_of(book, body).objects.get("conditionalFormats", [])
    index = int(body.get("index") or 0)
    if index >= len(rules):
        raise Refusal(f"No conditional format on sheet: {body.get('sheetId', 0)} at index: {index}")
    return {"rule": rules.pop(index)}


def set_data_validation(book: Book, body: Body) -> None:
    tab, bounds = grid_range(book, body.get("range") or {})
    bounds.clamp(tab)
    tab.objects.setdefault("dataValidations", []).append(dict(body))


def set_basic_filter(book: Book, body: Body) -> None:
    basic = dict(body.get("filter") or {})
    tab, bounds = grid_range(book, basic.get("range") or {})
    bounds.clamp(tab)
    tab.objects["basicFilter"] = [basic]


def clear_basic_filter(book: Book, body: Body) -> None:
    tab_of(book, body).objects.pop("basicFilter", None)


def add_named_range(book: Book, body: Body) -> Body:
    named = dict(body.get("namedRange") or {})
    grid_range(book, named.get("range") or {})
    named["namedRangeId"] = named.get("namedRangeId") or secrets.token_hex(6)
    if any(each["namedRangeId"] == named["namedRangeId"] for each in book.named_ranges):
        raise Refusal(f"A named range with ID {named['namedRangeId']} already exists.")
    book.named_ranges.append(named)
    return {"namedRange": named}


HANDLERS: dict[str, Callable[[Book, Body], Body | None]] = {
    "addFilterView": _adder(FILTER_VIEW),
    "deleteFilterView": _deleter(FILTER_VIEW),
    "addProtectedRange": _adder(PROTECTED_RANGE),
    "deleteProtectedRange": _deleter(PROTECTED_RANGE),
    "addChart": _adder(CHART),
    "addBanding": _adder(BANDING),
    "addConditionalFormatRule": add_conditional_format_rule,
    "deleteConditionalFormatRule": delete_conditional_format_rule,
    "setDataValidation": set_data_validation,
    "setBasicFilter": set_basic_filter,
    "clearBasicFilter": clear_basic_filter,
    "addNamedRange": add_named_range,
}
