"""The methods of the Sheets API. Each takes a spreadsheet and a checked call, and returns the reply."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from connector.emulators.google import (
    cell_requests,
    formatting_requests,
    line_requests,
    tab_requests,
    tag_requests,
    values,
)
from connector.emulators.google.errors import GoogleError, Refusal, invalid, not_found
from connector.emulators.google.masks import Mask, select
from connector.emulators.google.model import Book
from connector.emulators.google.ranges import Found, a1_areas, filter_areas, matching_tags
from connector.emulators.google.render import spreadsheet, tag_resource

Body: TypeAlias = Mapping[str, Any]
Handler: TypeAlias = Callable[[Book, Body], Body | None]
REQUEST_LIMIT = 100_000

HANDLERS: dict[str, Handler] = {
    **cell_requests.HANDLERS,
    **line_requests.HANDLERS,
    **formatting_requests.HANDLERS,
    **tab_requests.HANDLERS,
    **tag_requests.HANDLERS,
}


def apply_all(book: Book, requests: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Applies the requests and returns one reply for each. Raises at the first invalid one; drop the copy then."""
    if not requests:
        raise invalid("Must specify at least one request.")
    if len(requests) > REQUEST_LIMIT:
        raise invalid(f"Cannot exceed {REQUEST_LIMIT} requests in a single batch.")
    return [_apply(book, index, request) for index, request in enumerate(requests)]


def _apply(book: Book, index: int, request: dict[str, Any]) -> dict[str, Any]:
    if not request:
        raise invalid(f"Invalid requests[{index}]: No request set.")
    [(kind, body)] = request.items()
    handler = HANDLERS.get(kind)
    if handler is None:
        raise GoogleError(501, "UNIMPLEMENTED", f"The emulator does not know requests[{index}].{kind}.")
    try:
        reply = handler(book, body or {})
    except Refusal as refusal:
        raise invalid(f"Invalid requests[{index}].{kind}: {refusal}") from None
    return {} if reply is None else {kind: reply}


Json: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Call:
    """One call after all checks. `query` maps names to all their values; `fields` says whether a mask was sent."""

    path: Mapping[str, str]
    query: Mapping[str, Sequence[str]]
    body: Json
    mask: Mask
    fields: bool

    def one(self, name: str) -> str:
        return next(iter(self.query.get(name, ())), "")

    def flag(self, name: str) -> bool:
        return self.one(name).lower() in {"true", "1"}

    @property
    def options(self) -> Json:
        return {name: found[0] for name, found in self.query.items()}


def get(book: Book, call: Call) -> Json:
    texts = call.query.get("ranges")
    found = a1_areas(book, list(texts)) if texts else None
    return spreadsheet(book, call.mask, found, grid=call.fields or call.flag("includeGridData"))


def get_by_data_filter(book: Book, call: Call) -> Json:
    """Returns everything when no filter matches."""
    areas = [area for found in filter_areas(book, call.body.get("dataFilters") or []) for area in found]
    grid = call.fields or bool(call.body.get("includeGridData"))
    return spreadsheet(book, call.mask, areas or None, grid=grid)


def batch_update(book: Book, call: Call) -> Json:
    body = call.body
    replies = apply_all(book, body.get("requests") or [])
    answer: Json = select(call.mask, {"spreadsheetId": book.id, "replies": replies})
    if body.get("includeSpreadsheetInResponse") and call.mask.wants("updatedSpreadsheet"):
        texts = body.get("responseRanges") or []
        found = a1_areas(book, texts) if texts else None
        grid = call.fields or bool(body.get("responseIncludeGridData"))
        answer["updatedSpreadsheet"] = spreadsheet(book, call.mask.sub("updatedSpreadsheet"), found, grid=grid)
    return answer


def get_metadata(book: Book, call: Call) -> Json:
    found = matching_tags(book, {"metadataId": call.path["metadata"]})
    if not found:
        raise not_found()
    answer: Json = select(call.mask, tag_resource(book, found[0]))
    return answer


def values_get(book: Book, call: Call) -> Json:
    [(tab, area)] = a1_areas(book, [call.path["range"]])
    answer: Json = select(call.mask, values.value_range(tab, area, call.options))
    return answer


def values_batch_get(book: Book, call: Call) -> Json:
    found = a1_areas(book, list(call.query.get("ranges", ())))
    ranges = [values.value_range(tab, area, call.options) for tab, area in found]
    answer: Json = select(call.mask, {"spreadsheetId": book.id, "valueRanges": ranges})
    return answer


def values_by_data_filter(book: Book, call: Call) -> Json:
    """Returns an entry for each block, with the filters that match it."""
    filters: list[Json] = call.body.get("dataFilters") or []
    matched: dict[tuple[int, Any], tuple[Found, list[Json]]] = {}
    for body, found in zip(filters, filter_areas(book, filters), strict=True):
        for tab, area in found:
            matched.setdefault((tab.id, area), ([(tab, area)], []))[1].append(body)
    ranges = [
        {"valueRange": values.value_range(tab, area, call.body), "dataFilters": bodies}
        for [(tab, area)], bodies in matched.values()
    ]
    answer: Json = select(call.mask, {"spreadsheetId": book.id, "valueRanges": ranges})
    return answer


def values_update(book: Book, call: Call) -> Json:
    options = {**call.options, "majorDimension": call.body.get("majorDimension")}
    reply = values.write(book, call.path["range"], call.body.get("values") or [], options)
    answer: Json = select(call.mask, reply)
    return answer


def values_append(book: Book, call: Call) -> Json:
    reply = values.append(book, call.path["range"], call.body.get("values") or [], call.options)
    answer: Json = select(call.mask, reply)
    return answer


def values_clear(book: Book, call: Call) -> Json:
    answer: Json = select(call.mask, values.clear_values(book, call.path["range"]))
    return answer


def values_batch_update(book: Book, call: Call) -> Json:
    option = call.body.get("valueInputOption")
    responses = [
        values.write(book, data["range"], data.get("values") or [], {**data, "valueInputOption": option})
        for data in call.body.get("data") or []
    ]
    totals = {
        f"totalUpdated{name}": sum(response[f"updated{name}"] for response in responses)
        for name in ("Rows", "Columns", "Cells")
    }
    sheets = len({response["updatedRange"].rpartition("!")[0] for response in responses})
    reply = {"spreadsheetId": book.id, **totals, "totalUpdatedSheets": sheets, "responses": responses}
    answer: Json = select(call.mask, reply)
    return answer


Action: TypeAlias = Callable[[Book, Call], Json]
_BOOK = "/v4/spreadsheets/{id:[^/:]+}"
_RANGE = "/values/{range:[^/]+}"

ROUTES: tuple[tuple[str, str, str, Action], ...] = (
    ("GET", _BOOK, "spreadsheets.get", get),
    ("POST", _BOOK + ":getByDataFilter", "spreadsheets.getByDataFilter", get_by_data_filter),
    ("POST", _BOOK + ":batchUpdate", "spreadsheets.batchUpdate", batch_update),
    ("GET", _BOOK + "/developerMetadata/{metadata:[0-9]+}", "spreadsheets.developerMetadata.get", get_metadata),
    ("GET", _BOOK + "/values:batchGet", "spreadsheets.values.batchGet", values_batch_get),
    ("POST", _BOOK + "/values:batchGetByDataFilter", "spreadsheets.values.batchGetByDataFilter", values_by_data_filter),
    ("POST", _BOOK + "/values:batchUpdate", "spreadsheets.values.batchUpdate", values_batch_update),
    ("POST", _BOOK + _RANGE + ":append", "spreadsheets.values.append", values_append),
    ("POST", _BOOK + _RANGE + ":clear", "spreadsheets.values.clear", values_clear),
    ("GET", _BOOK + _RANGE, "spreadsheets.values.get", values_get),
    ("PUT", _BOOK + _RANGE, "spreadsheets.values.update", values_update),
)
"""HTTP method, path, name in the discovery document, and handler."""
READS = frozenset(
    {
        "spreadsheets.get",
        "spreadsheets.getByDataFilter",
        "spreadsheets.developerMetadata.get",
        "spreadsheets.values.get",
        "spreadsheets.values.batchGet",
        "spreadsheets.values.batchGetByDataFilter",
    }
)
"""Methods that count as reads; the others count as writes (Google Sheets API, Usage limits)."""
