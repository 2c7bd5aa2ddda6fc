"""The rights of every address, tested for all routes, so that a new one is not forgotten."""

from __future__ import annotations

import re

import pytest
from pydantic import ValidationError

from connector.config import HireflixSettings
from connector.web.api import API
from connector.web.dashboard.app import PAGES
from connector.web.dashboard.sign_in import own_path
from tests.web.browsing import SAME_ORIGIN, VIEW_PASSWORD, browser, dashboard, sign_in
from tests.web.test_api import ACT, BEARER, TOML

PUBLIC = {"/sign-in", "/static/1/1"}
"""Open to everybody."""
FOR_VIEWERS = {"/sign-in", "/sign-out", "/theme", "/routes", "/interviews"}
"""Forms that change nothing but the browser's own session and colours, or that only explain or search."""
SEARCHES = {"/api/interviews/search", "/api/events/search"}
"""Requests of programs that change nothing."""
VALUES = {"id_": "1", "name": "sheet", "release": "1"}
"""Values for the parameters of addresses."""


def addresses(method):
    """The addresses of all routes with a method, with values for their parameters."""
    routes = [(each, path) for each in PAGES for path in each.paths]
    routes += [(each, f"/api{path}") for each in API for path in each.paths]
    found = {
        re.sub(r"{(\w+):\w+}", lambda part: VALUES.get(part[1], "1"), path)
        for each, path in routes
        if method in each.http_methods
    }
    found |= {"/schema", "/schema/openapi.json"} if method == "GET" else set()
    return sorted(each.replace("/static/1/sheet", "/static/1/1") for each in found)


@pytest.mark.parametrize("path", sorted({*addresses("GET"), *addresses("POST")} - {"/"}))
def test_the_webhook_cannot_take_the_address_of_a_page(path):
    with pytest.raises(ValidationError, match="must not begin with a path of the connector"):
        HireflixSettings(webhook_path=path)


@pytest.mark.parametrize(
    "path", [path for path in addresses("GET") if not path.startswith(("/api", "/schema", "/static"))]
)
def test_every_page_can_be_opened_after_the_sign_in(path):
    assert own_path(path) == path


async def test_without_a_sign_in_nothing_is_shown_or_done(tmp_path):
    async with dashboard(tmp_path, TOML, password=None) as (_, client):
        assert len(addresses("GET")) >= 20
        for path in set(addresses("GET")) - PUBLIC:
            answer = await client.get(path)
            is_program = path.startswith(("/api", "/schema"))
            assert (path, answer.status_code) == (path, 401 if is_program else 303)
            assert is_program or answer.headers["location"].startswith("/sign-in?then=")
        for path in set(addresses("POST")) - PUBLIC:
            answer = await client.post(path, data={"sink": "sheet"}, headers=SAME_ORIGIN)
            assert (path, answer.status_code) in {(path, 401), (path, 303)}
            assert answer.headers.get("location", "/sign-in") == "/sign-in"
        assert (await client.get("/api/audit", headers=BEARER)).json()["rows"] == []


async def test_a_form_of_another_site_does_nothing(tmp_path):
    async with dashboard(tmp_path, TOML) as (_, client):
        assert len(addresses("POST")) >= 18
        for path in set(addresses("POST")) - SEARCHES:
            data = {"sink": "sheet", "token": "of-another-page", "password": "x"}
            for headers in ({"sec-fetch-site": "cross-site"}, {"sec-fetch-site": "same-site"}, {}):
                assert (path, (await client.post(path, data=data, headers=headers)).status_code) == (path, 403)
        assert "No changes yet." in (await client.get("/audit")).text


async def test_a_user_or_a_program_that_may_only_view_changes_nothing(tmp_path):
    async with dashboard(tmp_path, TOML, password=None) as (service, program), browser(service) as viewer:
        await sign_in(viewer, VIEW_PASSWORD)
        for path in set(addresses("POST")) - FOR_VIEWERS - SEARCHES:
            by_user = await viewer.post(path, data={"sink": "sheet"}, headers=SAME_ORIGIN)
            by_program = await program.post(path, json={}, headers=BEARER | SAME_ORIGIN)
            assert (path, by_user.status_code, by_program.status_code) == (path, 403, 403)
        assert (await viewer.get("/api/audit")).json()["rows"] == []
        assert (await program.post("/api/sinks/sheet/pause", json={}, headers=ACT)).status_code == 200
