"""The JSON API: who may read it, what it returns, and that it is described."""

from __future__ import annotations

import pytest

from connector.web.api.routes import API
from tests.serving import sample
from tests.web.browsing import DASHBOARD, dashboard, note_changes

TOKEN = "token-of-a-program"
TOML = '[sinks.sheet]\ntype = "workbook"\npath = "data/x.xlsx"\n' + DASHBOARD + f'api_tokens = ["{TOKEN}"]\n'
BEARER = {"authorization": f"Bearer {TOKEN}", "accept": "application/json"}
PATHS = [f"/api{path}" for handler in API for path in handler.paths]


async def test_every_address_needs_a_token_or_a_session(tmp_path):
    async with dashboard(tmp_path, TOML, password=None) as (_, client):
        for path in [*PATHS, "/schema", "/schema/openapi.json"]:
            wrong = {"authorization": "Bearer token-of-a-stranger", "accept": "*/*"}
            assert (path, (await client.get(path, headers=wrong)).status_code) == (path, 401)
            assert (path, (await client.get(path, headers=BEARER)).status_code) == (path, 200)


async def test_a_token_of_a_program_changes_nothing(tmp_path):
    async with dashboard(tmp_path, TOML, password=None) as (_, client):
        headers = BEARER | {"sec-fetch-site": "same-origin"}
        assert (await client.post("/actions/pause", data={"sink": "sheet"}, headers=headers)).status_code == 403


async def test_a_listing_continues_behind_its_last_row(tmp_path):
    async with dashboard(tmp_path, TOML, password=None) as (service, client):
        for number in range(3):
            await service.post(sample("finish", id=f"interview {number}"))
        note_changes(tmp_path, 3)
        for path in ("/api/events", "/api/interviews", "/api/deliveries", "/api/audit"):
            seen, after = [], ""
            for _ in range(3):
                answer = (await client.get(path, params={"limit": 1, "after": after}, headers=BEARER)).json()
                seen += [row["id"] for row in answer["rows"]]
                after = answer["next"]
            assert (path, len(set(seen)), after) == (path, 3, "")


@pytest.mark.parametrize("query", ["limit=0", "limit=501", "limit=x", "after=x", "after=1.", "after=1.x"])
async def test_a_parameter_that_means_nothing_is_refused(tmp_path, query):
    async with dashboard(tmp_path, TOML, password=None) as (_, client):
        answer = await client.get(f"/api/events?{query}", headers=BEARER)
        assert answer.status_code == 422
        assert answer.headers["content-type"] == "application/json"


async def test_the_description_names_every_address(tmp_path):
    async with dashboard(tmp_path, TOML, password=None) as (_, client):
        found = (await client.get("/schema/openapi.json", headers=BEARER)).json()
        assert sorted(found["paths"]) == sorted(PATHS)
