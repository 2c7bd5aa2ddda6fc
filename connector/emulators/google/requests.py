"""`spreadsheets.batchUpdate`: applies the emulated requests in order to a copy of the spreadsheet."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from connector.emulators.google import cell_requests, formatting_requests, line_requests, tab_requests, tag_requests
from connector.emulators.google.errors import GoogleError, Refusal, invalid
from connector.emulators.google.model import Book

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
