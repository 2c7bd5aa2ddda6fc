"""Actions over real HTTP: each needs the right to act and a form of the dashboard, and is in the audit log."""

from __future__ import annotations

import re
import sqlite3
from contextlib import asynccontextmanager, closing

import httpx
import pytest

from connector.emulators.google import EMAIL, GoogleEmulator
from tests.serving import CONSOLE_ONLY, sample, until
from tests.web.browsing import DASHBOARD, SAME_ORIGIN, dashboard

SHEET = '[sinks.sheet]\ntype = "workbook"\npath = "data/interviews.xlsx"\n' + DASHBOARD


def make_dead(folder, reason="the position is unknown here"):
    """Makes a dead letter of every delivery, as a destination that rejects them would."""
    with closing(sqlite3.connect(folder / "data" / "connector.db")) as store, store:
        store.execute("UPDATE delivery SET state = 3, reason = ?, done_at = since", [reason])


async def shown(client, path, text):
    """The page, as soon as it shows the text."""

    async def page():
        found = (await client.get(path)).text
        return text in found and found

    return await until(page)


def keys(google, spreadsheet):
    return {record["Interview ID"] for record in google.records(spreadsheet, "Interviews")}


async def act(client, path, **data):
    return await client.post(path, data=data, headers=SAME_ORIGIN)


async def test_a_sink_is_paused_and_resumed_by_the_user_in_the_audit_log(tmp_path):
    async with dashboard(tmp_path) as (_, client):
        paused = await act(client, "/actions/pause", sink="console")
        assert paused.headers["location"] == "/sinks/console"
        page = (await client.get("/sinks/console")).text
        assert "console is paused." in page
        assert "Resume console" in page
        await act(client, "/actions/pause", sink="console", until="2100-01-01T08:00")
        assert "paused until 1 Jan 2100" in (await client.get("/sinks/console")).text
        assert (await act(client, "/actions/pause", sink="console", until="2001-01-01T08:00")).status_code == 422
        await act(client, "/actions/resume", sink="console")
        assert "Pause console" in (await client.get("/sinks/console")).text
        audit = (await client.get("/audit")).text
        assert re.findall(r'data-label="Action">(\w+)<', audit) == ["resume", "pause", "pause"]
        assert "web:operator (127.0.0.1)" in audit


@asynccontextmanager
async def with_dead_letter(folder):
    """A dashboard with one dead letter of the workbook, whose cause was removed, and the address of its page."""
    async with dashboard(folder, SHEET) as (service, client):
        await act(client, "/actions/pause", sink="sheet")
        await service.post(sample("finish"))
        make_dead(folder)
        await act(client, "/actions/resume", sink="sheet")
        page = (await client.get("/deliveries?state=dead")).text
        (address,) = set(re.findall(r'href="(/deliveries/\d+)"', page))
        yield service, client, address


async def test_a_dead_letter_is_replayed_after_a_preview(tmp_path):
    async with with_dead_letter(tmp_path) as (_, client, address):
        page = (await client.get(address)).text
        assert "the position is unknown here" in page
        assert "Repair the cause that the reason names, then replay it." in page
        id_ = address.split("/")[-1]
        preview = (await client.get(f"/actions/selection?ids={id_}")).text
        assert "sheet: 1 dead delivery, 1 row is written" in preview
        answer = await act(client, "/actions/replay", ids=id_)
        assert answer.headers["location"] == address
        await shown(client, address, "delivered")
        assert "Replay this delivery" not in (await client.get("/deliveries?state=dead")).text


async def test_all_dead_letters_of_a_reason_are_replayed(tmp_path):
    async with with_dead_letter(tmp_path) as (_, client, _):
        page = (await client.get("/deliveries")).text
        (selection,) = set(re.findall(r'href="/deliveries\?(sink=sheet&amp;state=dead&amp;reason=[^"&]+)"', page))
        query = selection.replace("&amp;", "&")
        assert "sheet: 1 dead delivery, 1 row is written" in (await client.get(f"/actions/selection?{query}")).text
        other = query.replace("unknown", "known")
        assert "Nothing to replay." in (await client.get(f"/actions/selection?{other}")).text
        data = dict(part.split("=") for part in query.split("&"))
        data["reason"] = data["reason"].replace("+", " ")
        await act(client, "/actions/replay", **data)
        await shown(client, "/deliveries?state=delivered", "Wayne Knight")


async def test_a_dead_letter_is_dismissed_with_a_reason_only(tmp_path):
    async with with_dead_letter(tmp_path) as (_, client, _):
        assert (await act(client, "/actions/dismiss", sink="sheet", state="dead", why=" ")).status_code == 422
        await act(client, "/actions/dismiss", sink="sheet", state="dead", why="the position is closed")
        assert "the position is closed" in (await client.get("/deliveries?state=dismissed")).text


@pytest.mark.parametrize("query", ["", "?state=pending", "?sink=none", "?ids=x"])
async def test_a_selection_that_makes_no_sense_is_refused_with_a_sentence(tmp_path, query):
    async with dashboard(tmp_path) as (_, client):
        answer = await client.get(f"/actions/selection{query}")
        assert answer.status_code == 422
        assert "This is not possible" in answer.text


@pytest.mark.parametrize("action", ["verify", "repair"])
async def test_a_sink_that_cannot_be_read_back_is_not_verified(tmp_path, action):
    async with dashboard(tmp_path) as (_, client):
        answer = await act(client, f"/actions/{action}", sink="console")
        assert answer.status_code == 422
        assert "cannot be read back" in answer.text


@asynccontextmanager
async def with_sheet(folder):
    """A dashboard whose emulated Google sheet has two interviews; yields it with the sheet."""
    with GoogleEmulator() as google:
        google.service_account_file(folder / "key.json")
        spreadsheet = google.add_spreadsheet(editors=[EMAIL])
        toml = (
            f'[sinks.sheet]\ntype = "google_sheets"\nspreadsheet = "{spreadsheet}"\n'
            f'credentials_file = "key.json"\napi_url = "{google.url}"\ncalls_per_minute = 600\n{DASHBOARD}'
        )
        async with dashboard(folder, toml) as (service, client):
            client.timeout = httpx.Timeout(60)
            for number in range(2):
                await service.post(sample("finish", id=f"i{number}"))
            await shown(client, "/sinks/sheet", "<dt>Delivered</dt><dd>2")
            yield client, google, spreadsheet


async def test_a_sheet_is_verified_and_a_changed_cell_is_repaired(tmp_path):
    async with with_sheet(tmp_path) as (client, google, spreadsheet):
        report = await act(client, "/actions/verify", sink="sheet")
        assert report.status_code == 200
        assert "<h1>sheet: in sync" in report.text
        column = google.header(spreadsheet, "Interviews").index("Interview ID")
        google.person(spreadsheet).edit("Interviews", 1, column, "spoilt")
        report = await act(client, "/actions/verify", sink="sheet")
        assert "<h1>sheet: not in sync" in report.text
        assert 'data-label="Kind">broken key<' in report.text
        asked = await act(client, "/actions/repair", sink="sheet")
        assert (asked.status_code, asked.headers["location"]) == (303, "/sinks/sheet")
        await shown(client, "/sinks/sheet", "1 broken key")
        await until(lambda: keys(google, spreadsheet) == {"i0", "i1"})
        assert re.findall(r'data-label="Action">(\w+)<', (await client.get("/audit")).text) == ["repair"]


async def test_a_person_is_erased_with_a_receipt(tmp_path):
    async with dashboard(tmp_path, SHEET) as (service, client):
        payload = sample("finish")
        await service.post(payload)
        await shown(client, "/deliveries?state=delivered", "Wayne Knight")
        id_ = payload["data"]["id"]
        assert "Wayne Knight" in (await client.get(f"/actions/erase?interview={id_}")).text
        client.timeout = httpx.Timeout(60)
        receipt = await act(client, "/actions/erase", interview=id_)
        assert receipt.status_code == 200
        assert "Wayne Knight" not in receipt.text
        assert "Wayne Knight" not in (await client.get("/interviews")).text


async def test_the_deliveries_of_a_removed_sink_are_dismissed_on_its_page(tmp_path):
    async with dashboard(tmp_path, SHEET + CONSOLE_ONLY) as (service, client):
        assert (await act(client, "/actions/pause", sink="console")).status_code == 303
        await service.post(sample("finish", id="i1"))
    async with dashboard(tmp_path, SHEET) as (_, client):
        page = (await client.get("/sinks/console")).text
        assert "connector dismiss --sink console" in page
        assert 'href="/actions/selection?sink=console"' in page
        assert "Dismiss this delivery" in (await client.get("/actions/selection?sink=console")).text
        await act(client, "/actions/dismiss", sink="console", why="the sink was removed")
        assert "console" not in (await client.get("/sinks")).text
