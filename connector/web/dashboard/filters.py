"""The filters and the pages of lists, which are part of the address of a page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from litestar import Request

from connector.languages import gettext_noop
from connector.operations.listings import is_number, written_place
from connector.store.queries import Place

ROWS = 50
"""Rows of a list."""


@dataclass(frozen=True, slots=True)
class Option:
    """A choice of a filter."""

    value: str
    text: str
    is_chosen: bool
    is_ours: bool = True


@dataclass(frozen=True, slots=True)
class Filter:
    """A filter of a list, as a form shows it."""

    name: str
    label: str
    options: list[Option]


def make_filter(name: str, label: str, chosen: str, choices: list[tuple[str, str]], *, is_ours: bool = False) -> Filter:
    """Returns a filter. `is_ours`: the texts of its choices are ours, and not from outside."""
    known = [*choices]
    if chosen and chosen not in {value for value, _ in known}:
        known.append((chosen, chosen))
    options = [Option(value, text, value == chosen, is_ours) for value, text in known]
    return Filter(name, label, [Option("", gettext_noop("all"), not chosen), *options])


def parameters(request: Request[Any, Any, Any], *names: str) -> dict[str, str]:
    """Returns the given parameters of the address; `""` for a missing one."""
    return {name: request.query_params.get(name, "") for name in names}


def ids_in(text: str) -> list[int]:
    """Returns the ids of a text with commas between them. Other parts are ignored."""
    return [int(part) for part in text.split(",") if is_number(part)]


def list_address(path: str, chosen: Mapping[str, str]) -> str:
    """Returns the address of a list with the parameters that have a value."""
    kept = {name: value for name, value in chosen.items() if value}
    return f"{path}?{urlencode(kept)}" if kept else path


@dataclass(frozen=True, slots=True)
class Paging:
    """The addresses of other pages of a list: `""` for `first` on the first page, and for `next` on the last one."""

    first: str
    next: str


def paging(path: str, chosen: dict[str, str], after: Place | None, following: Place | None) -> Paging:
    """Returns the addresses of a list with the filters `chosen`.

    `after` is the place that this page starts behind, `following` that of the next page.
    """
    more = "" if following is None else list_address(path, chosen | {"after": written_place(following)})
    return Paging("" if after is None else list_address(path, chosen), more)
