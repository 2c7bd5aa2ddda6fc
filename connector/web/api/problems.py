"""How the API answers what it cannot do, for the description of the API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from litestar.openapi.datastructures import ResponseSpec


class ApiProblem(msgspec.Struct, frozen=True):
    """What is wrong with a request. `extra` names the fields that are not valid."""

    status_code: int
    detail: str
    extra: Any = None


PROBLEMS: Mapping[int, ResponseSpec] = {
    status: ResponseSpec(ApiProblem, description=text, generate_examples=False)
    for status, text in (
        (401, "The token is missing or wrong."),
        (403, "The token may only view."),
        (404, "There is nothing at this address."),
        (405, "The address has no such method."),
        (409, "The sink could not be reached, or another reason that `detail` names."),
        (422, "The request is not valid; `detail` says why."),
        (503, "The store is unavailable."),
    )
}
"""The answers that every address may give."""
