"""One emulator per test, and a client that speaks plain HTTP to it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from connector.emulators.google import GoogleEmulator
from tests.serving import PLAIN


class Api:
    """Calls on one spreadsheet, with a valid token unless a test takes another."""

    def __init__(self, emulator: GoogleEmulator, spreadsheet_id: str) -> None:
        self.emulator = emulator
        self.id = spreadsheet_id
        self.client = httpx.Client(headers={"Authorization": f"Bearer {emulator.token()}"}, verify=PLAIN, timeout=30)
        self.person = emulator.person(spreadsheet_id)

    @property
    def url(self) -> str:
        return f"{self.emulator.url}/v4/spreadsheets/{self.id}"

    def get(self, path: str = "", **params: Any) -> httpx.Response:
        return self.client.get(self.url + path, params=params)

    def post(self, path: str, body: Any, **params: Any) -> httpx.Response:
        return self.client.post(self.url + path, json=body, params=params)

    def batch(self, *requests: Any, fields: str | None = None, **body: Any) -> httpx.Response:
        params = {} if fields is None else {"fields": fields}
        return self.client.post(f"{self.url}:batchUpdate", json={"requests": requests, **body}, params=params)

    def done(self, *requests: Any, **more: Any) -> Any:
        """The reply of a batch that must succeed."""
        response = self.batch(*requests, **more)
        assert response.status_code == 200, response.text
        return response.json()

    def refused(self, *requests: Any) -> str:
        """The message of a batch that must be refused."""
        response = self.batch(*requests)
        assert response.status_code == 400, response.text
        return str(response.json()["error"]["message"])

    def look(self, fields: str, *filters: Any) -> Any:
        """`getByDataFilter` through a mask."""
        response = self.post(":getByDataFilter", {"dataFilters": filters}, fields=fields)
        assert response.status_code == 200, response.text
        return response.json()

    def rows(self, title: str = "Sheet1") -> list[list[Any]]:
        return self.emulator.rows(self.id, title)


@pytest.fixture
def google() -> Iterator[GoogleEmulator]:
    with GoogleEmulator() as emulator:
        yield emulator


@pytest.fixture
def api(google: GoogleEmulator) -> Iterator[Api]:
    api = Api(google, google.add_spreadsheet())
    with api.client:
        yield api
