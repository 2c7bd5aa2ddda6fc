"""The JSON API: who may read it, what it returns, and that it is described."""

from __future__ import annotations

from connector.web.api import API
from tests.serving import sample
from tests.web.browsing import DASHBOARD, dashboard, note_changes
from tests.web.test_actions import make_dead

TOKEN = "token-of-a-monitor"
ACT_TOKEN = "token-of-a-robot"
TOML = '[sinks.sheet]\ntype = "workbook"\npath = "data/x.xlsx"\n' + DASHBOARD
TOML += f'[dashboard.tokens.monitor]\ntoken = "{TOKEN}"\n'
TOML += f'[dashboard.tokens.robot]\ntoken = "{ACT_TOKEN}"\nrole = "act"\n'
CONSOLE = '[sinks.log]\ntype = "console"\n'
BEARER = {"authorization": f"Bearer {TOKEN}", "accept": "application/json"}
ACT = {"authorization": f"Bearer {ACT_TOKEN}"}
EFFECT = {"sink": "sheet", "rows": 1, "messages": None}
PATHS = [f"/api{path}".replace(":str", "") for handler in API for path in handler.paths]
READS = [f"/api{path}" for handler in API for path in handler.paths if "GET" in handler.http_methods]


def replayed(state):
    return {"count": 1, "expired": {}, "pending": {}, "effects": [{**EFFECT, "states": {state: 1}}]}


async def test_every_address_needs_a_token_or_a_session(tmp_path):
    async with dashboard(tmp_path, TOML, password=None) as (_, client):
        for path in [*READS, "/schema", "/schema/openapi.json"]:
            wrong = {"authorization": "Bearer token-of-a-stranger", "accept": "*/*"}
            refused = await client.get(path, headers=wrong)
            assert (path, refused.status_code, refused.headers["www-authenticate"]) == (path, 401, "Bearer")
            assert (path, (await client.get(path, headers=BEARER)).status_code) == (path, 200)


async def test_a_program_that_may_act_does_what_a_user_can_and_the_audit_log_names_its_token(tmp_path):
    async with dashboard(tmp_path, TOML, password=None) as (service, client):

        async def act(path, **body):
            answer = await client.post(f"/api{path}", json=body, headers=ACT)
            return answer.status_code, answer.json()

        status, paused = await act("/sinks/sheet/pause", until="2100-01-01T08:00")
        assert (status, paused) == (200, {"sink": "sheet", "until": 4_102_473_600_000})
        await service.post(sample("finish", id="i1"))
        make_dead(tmp_path)
        assert await act("/deliveries/replay", sink="sheet", preview=True) == (200, replayed("dead"))
        assert await act("/deliveries/dismiss", sink="sheet", why="the position is closed") == (200, {"count": 1})
        assert await act("/deliveries/replay", sink="sheet", state="dismissed") == (200, replayed("dismissed"))
        assert await act("/sinks/sheet/resume") == (200, {"sink": "sheet", "pending": 1})
        status, receipt = await act("/interviews/erase", interview="i1")
        assert (status, receipt["interviews"]) == (200, ["i1"])
        changes = (await client.get("/api/audit", headers=BEARER)).json()["rows"]
        assert [row["action"] for row in changes] == ["erase", "resume", "replay", "dismiss", "pause"]
        assert {row["actor"] for row in changes} == {"api:robot (127.0.0.1)"}


async def test_a_sink_is_paused_and_resumed_without_a_body(tmp_path):
    async with dashboard(tmp_path, TOML, password=None) as (_, client):
        paused = await client.post("/api/sinks/sheet/pause", headers=ACT)
        assert (paused.status_code, paused.json()) == (200, {"sink": "sheet", "until": None})
        assert (await client.post("/api/sinks/sheet/resume", headers=ACT)).status_code == 200


async def test_what_cannot_be_done_is_answered_with_the_reason(tmp_path):
    async with dashboard(tmp_path, TOML + CONSOLE, password=None) as (_, client):
        for path, body, reason in (
            ("/sinks/shet/pause", {}, "did you mean sheet?"),
            ("/sinks/sheet/pause", {"until": "yesterday"}, "Not a time"),
            ("/sinks/log/verify", {}, "cannot be read back"),
            ("/deliveries/replay", {}, "Select what to replay"),
            ("/deliveries/replay", {"sink": "sheet", "colour": "red"}, "colour"),
            ("/interviews/erase", {"interview": "unknown"}, "This interview is not in the store"),
        ):
            answer = await client.post(f"/api{path}", json=body, headers=ACT)
            assert (path, answer.status_code) == (path, 422)
            assert reason in answer.text


async def test_a_listing_continues_behind_its_last_row(tmp_path):
    async with dashboard(tmp_path, TOML, password=None) as (service, client):
        for number in range(3):
            await service.post(sample("finish", id=f"interview {number}"))
        note_changes(tmp_path, 3)
        for path in ("/api/events", "/api/interviews", "/api/deliveries", "/api/audit"):
            seen, after = [], ""
            while after or not seen:
                answer = (await client.get(path, params={"limit": 1, "after": after}, headers=BEARER)).json()
                seen += [row["id"] for row in answer["rows"]]
                after = answer["next"]
            assert len(set(seen)) == len(seen) >= 3, path


async def test_a_parameter_that_means_nothing_is_refused(tmp_path):
    """It would select other rows than its program wants."""
    everywhere = ("limit=0", "limit=501", "limit=x", "after=x", "after=1.", "colour=red")
    of_a_period = ("since=yesterday", "until=-1")
    refused = [f"{path}?{query}" for path in READS[1:] for query in everywhere]
    refused += [f"{path}?{query}" for path in READS[1:] if path != "/api/audit" for query in of_a_period]
    refused += [
        "/api/events?after=1.x",
        "/api/status?sink=sheet",
        "/api/deliveries?state=deed",
        "/api/deliveries?position=Baker",
    ]
    async with dashboard(tmp_path, TOML, password=None) as (_, client):
        for address in refused:
            answer = await client.get(address, headers=BEARER)
            assert (address, answer.status_code) == (address, 422)
            assert answer.headers["content-type"] == "application/json"


async def test_a_listing_has_only_the_rows_that_its_parameters_select(tmp_path):
    async with dashboard(tmp_path, TOML + CONSOLE, password=None) as (service, client):
        await service.post(sample("finish", id="i1"))
        make_dead(tmp_path)

        async def count(query):
            return len((await client.get(f"/api/deliveries?{query}", headers=BEARER)).json()["rows"])

        for query, expected in (
            ("state=dead", 1),
            ("state=&interview=&since=0", 1),
            ("state=delivered", 0),
            ("state=dead&until=1", 0),
            ("interview=i2", 0),
        ):
            assert (query, await count(f"sink=log&{query}")) == (query, expected)


async def test_the_disk_of_the_store_is_a_trouble_on_every_page_and_in_the_api(tmp_path, disk):
    disk[0] = 2_000_000
    async with dashboard(tmp_path, TOML) as (_, client):
        assert "2 MB free of 100,000 MB" in (await client.get("/")).text
        troubles = (await client.get("/api/status")).json()["troubles"]
        assert [each["kind"] for each in troubles] == ["low_disk"]


async def test_the_description_names_every_address(tmp_path):
    async with dashboard(tmp_path, TOML, password=None) as (_, client):
        found = (await client.get("/schema/openapi.json", headers=BEARER)).json()
        assert sorted(found["paths"]) == sorted(PATHS)
