"""The filters of lists, which are part of the address of a page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from litestar import Request

ROWS = 50
"""Rows of a list."""


@dataclass(frozen=True, slots=True)
class Option:
    """A choice of a filter."""

    value: str
    text: str
    is_chosen: bool


@dataclass(frozen=True, slots=True)
class Filter:
    """A filter of a list, as a form shows it."""

    name: str
    label: str
    options: list[Option]


def make_filter(name: str, label: str, chosen: str, choices: list[tuple[str, str]]) -> Filter:
    known = [("", "all"), *choices]
    if chosen and chosen not in {value for value, _ in known}:
        known.append((chosen, chosen))
    return Filter(name, label, [Option(value, text, value == chosen) for value, text in known])


def parameters(request: Request[Any, Any, Any], *names: str) -> dict[str, str]:
    """Returns the given parameters of the address; `""` for a missing one."""
    return {name: request.query_params.get(name, "") for name in names}
