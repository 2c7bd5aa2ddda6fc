"""The pages in a real Chromium: what a user does, without script, on a phone, and for a screen reader."""

from __future__ import annotations

import json
import os
import re
import shutil
from contextlib import asynccontextmanager
from importlib.resources import files

import pytest
import pytest_asyncio

from connector.emulators.google import EMAIL, GoogleEmulator
from connector.testing.make import HOSTILE_TEXTS
from tests.serving import sample
from tests.sinks.webhook.receiver import Reply, WebhookReceiver, whsec
from tests.web.browsing import DASHBOARD, PASSWORD, dashboard
from tests.web.test_actions import SHEET, make_dead, shown, with_dead_letter

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(
        CHROMIUM is None and "CI" not in os.environ, reason="Chromium is not installed; apt-get install chromium"
    ),
]
PAGES = (
    *("/", "/interviews", "/interviews/one?id=x1", "/events/1", "/decisions", "/deliveries?state=dead"),
    *("/deliveries/1", "/actions/selection?state=dead&sink=sheet", "/actions/erase?interview=x1"),
    *("/sinks", "/sinks/sheet", "/routes?event=1", "/audit"),
)
DESKTOP = {"width": 1280, "height": 900}
PHONE = {"width": 320, "height": 640}
HOSTILE = [
    *HOSTILE_TEXTS.values(),
    '"><script>hit()</script>',
    "<img src=/hit onerror=hit()>",
    '<b hx-get="/hit" hx-trigger="load">',
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def chromium():
    """One browser for all tests; each opens a context of its own."""
    from playwright.async_api import async_playwright

    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        await browser.close()


async def enter(context, url, then="/"):
    """Opens a page after the sign-in, and records failing or forbidden scripts and requests to other hosts."""
    page = await context.new_page()
    page.noted = []
    page.on("pageerror", lambda error: page.noted.append(f"error {error}"))
    page.on(
        "request",
        lambda sent: page.noted.append(sent.url) if not sent.url.startswith(url) or "/hit" in sent.url else None,
    )
    await page.goto(url + then)
    await page.fill("#password", PASSWORD)
    await page.click("text=Sign in")
    await page.wait_for_url(url + then)
    return page


@asynccontextmanager
async def opened(chromium, folder, toml=SHEET, then="/", **settings):
    """A page of a dashboard, signed in, with its service and a client for what other users do."""
    async with dashboard(folder, toml) as (service, client):
        context = await chromium.new_context(**settings)
        yield await enter(context, service.url, then), service, client
        await context.close()


def count_loads(page):
    """The addresses that the page loads from now on."""
    loads = []
    page.on("load", lambda: loads.append(page.url))
    return loads


async def test_a_user_finds_a_failure_and_replays_it_and_sees_it_delivered_without_reloading(tmp_path, chromium):
    async with with_dead_letter(tmp_path) as (service, *_):
        page = await enter(await chromium.new_context(), service.url)
        assert await page.title() == "1 problem needs you · Overview – connector"
        await page.click("text=Show them")
        assert "the position is unknown here" in await page.inner_text("main")
        await page.click("tbody >> text=the position is unknown here")
        await page.click("text=Replay or dismiss all of these…")
        await page.click("text=Replay this delivery")
        await page.wait_for_url(re.compile("/deliveries"))
        loads = count_loads(page)
        await page.wait_for_selector("tbody td:has-text('delivered')")
        await page.wait_for_function("document.title.startsWith('Deliveries')")
        assert (loads, page.noted) == ([], [])
        await page.context.close()


async def test_a_user_reads_the_remedy_repairs_the_destination_and_sees_the_sink_recover(tmp_path, chromium):
    with WebhookReceiver() as receiver:
        receiver.reply = Reply(410, body="this address was closed")
        toml = f'[sinks.forward]\ntype = "webhook"\nurl = "{receiver.url}/hook"\nsecret = "{whsec("a")}"\n{DASHBOARD}'
        async with opened(chromium, tmp_path, toml) as (page, service, _):
            await service.post(sample("finish"))
            trouble = await page.wait_for_selector(".trouble:has-text('paused')", timeout=60_000)
            text = await trouble.inner_text()
            assert "the destination accepts no more events (status 410)" in text
            assert "1 delivery waits, nothing is lost" in text
            assert "Set url to an address that accepts events" in text
            receiver.reply = Reply()
            await page.click("text=Open the sink")
            await page.click("button:has-text('Resume forward')")
            await page.wait_for_selector(".notice:has-text('is resumed')")
            loads = count_loads(page)
            await page.wait_for_selector(".head .state:has-text('in sync')")
            assert (loads, page.noted) == ([], [])


async def test_a_user_simulates_a_payload_and_sees_the_cells_of_the_row(tmp_path, chromium):
    with GoogleEmulator() as google:
        key = google.service_account_file(tmp_path / "key.json")
        sheet = google.add_spreadsheet(editors=(EMAIL,))
        toml = f"""[sinks.hiring]
type = "google_sheets"
spreadsheet = "{sheet}"
credentials_file = "{key}"
api_url = "{google.url}"
[[routes]]
sinks = ["hiring"]
min_score = 3
{DASHBOARD}"""
        async with opened(chromium, tmp_path, toml, "/routes") as (page, _, _client):
            await page.fill("#body", json.dumps(sample("finish", score=1)))
            await page.click("button:has-text('Explain the payload')")
            assert "No sink gets it." in await page.inner_text("main")
            await page.fill("#body", json.dumps(sample("finish", score=4)))
            await page.click("button:has-text('Explain the payload')")
            cells = await page.inner_text("table.sheet")
            assert "Wayne Knight" in cells
            assert google.records(sheet, "Sheet1") == []


async def test_a_visitor_edits_an_emulated_sheet_with_the_keyboard_while_it_changes(chromium):
    with GoogleEmulator() as google:
        id_ = google.add_spreadsheet(tabs=["Interviews"])
        person = google.person(id_)
        person.write("Interviews", [["Candidate", "Notes"], ["Ann", "call"]])
        page = await (await chromium.new_context()).new_page()
        await page.goto(f"{google.url}/view/{id_}")
        await page.focus("a.cell:has-text('call')")
        person.edit("Interviews", 1, 0, "Zoë")
        await page.wait_for_selector("text=Zoë")
        await page.keyboard.press("Enter")
        await page.wait_for_selector("textarea:focus")
        await page.keyboard.type("called ")
        await page.keyboard.press("Tab")
        await page.keyboard.press("Enter")
        await page.wait_for_selector("a.cell:has-text('called')")
        assert google.rows(id_, "Interviews")[1] == ["Zoë", "called call"]
        await page.context.close()


async def test_a_user_pauses_a_sink_until_a_time(tmp_path, chromium):
    async with opened(chromium, tmp_path, then="/sinks/sheet") as (page, _, _client):
        await page.fill("input[name=until]", "2100-01-01T08:00")
        await page.click("button:has-text('Pause sheet')")
        assert "sheet is paused until 1 January 2100, 08:00:00 UTC." in await page.inner_text(".notice")
        assert "paused until 1 Jan 2100" in await page.inner_text(".head")
        await page.click("button:has-text('Resume sheet')")
        await page.wait_for_selector("button:has-text('Pause sheet')")


async def test_a_user_takes_the_first_steps_with_a_sample_and_erases_its_person_again(tmp_path, chromium):
    async with opened(chromium, tmp_path) as (page, _, client):
        await page.click("button:has-text('Send a sample')")
        await page.wait_for_selector(".notice:has-text('The sample is stored')")
        loads = count_loads(page)
        await page.wait_for_selector(".steps li.done:has-text('The first row is written')")
        assert loads == []
        assert await page.locator(".steps li.open").count() == 1
        await page.click(".lines >> text=Sample candidate")
        await page.click("text=Erase this person…")
        await page.click("button:has-text('Erase permanently')")
        await page.wait_for_selector("h1:has-text('Erased')", timeout=60_000)
        assert "Sample candidate" not in (await client.get("/interviews")).text


async def test_a_search_stays_on_an_open_page_and_behind_the_back_button_and_its_name_is_in_no_address(
    tmp_path, chromium
):
    async with opened(chromium, tmp_path, then="/interviews") as (page, service, _):
        await service.post(sample("finish", id="i1"))
        await page.fill("input[type=search]", "wayne")
        await page.press("input[type=search]", "Enter")
        await page.wait_for_url("**/interviews?search=*")
        found = page.url
        row = page.get_by_role("link", name="Wayne Knight")
        await row.wait_for()
        scored = sample("finish", id="i1", score={"value": 4.5})
        scored["date"] += 1
        await service.post(scored)
        await page.get_by_role("cell", name="4.5").wait_for()  # the page has updated itself
        assert (page.url, await page.input_value("input[type=search]")) == (found, "wayne")
        await row.click()
        await page.wait_for_url("**/interviews/one?id=i1")
        await page.go_back()
        await page.wait_for_url(found)
        await row.wait_for()
        assert page.noted == []
        assert "wayne" not in found.lower()


async def test_an_open_page_turns_red_when_the_service_ends_and_recovers_when_it_answers(tmp_path, chromium):
    async with opened(chromium, tmp_path, then="/sinks") as (page, service, _):
        is_away = True

        async def cut(route):
            await (route.abort() if is_away else route.continue_())

        await page.route(f"{service.url}/sinks", cut)
        await page.keyboard.press("r")
        await page.wait_for_selector("#verdict.bad:has-text('The connector does not answer')")
        assert (await page.title()).startswith("The connector does not answer")
        is_away = False
        await page.keyboard.press("r")
        await page.wait_for_selector("#verdict.ok")
        assert (await page.title()).startswith("Sinks")


async def test_everything_works_without_script_and_on_a_phone(tmp_path, chromium):
    async with with_dead_letter(tmp_path) as (service, client, _):
        page = await enter(
            await chromium.new_context(java_script_enabled=False, viewport=PHONE), service.url, "/deliveries"
        )
        await page.click("tbody a[href^='/deliveries/']")
        await page.click("text=Replay or dismiss…")
        await page.click("text=Replay this delivery")
        await shown(client, "/deliveries", "delivered")
        await page.click("nav >> text=Deliveries")
        assert "delivered" in await page.inner_text("main")
        await page.click("nav >> text=Sinks")
        await page.click("tbody a[href='/sinks/sheet']")
        await page.click("button:has-text('Pause sheet')")
        await page.click("button:has-text('Resume sheet')")
        await page.click("footer >> text=dark")
        assert await page.get_attribute("html", "data-theme") == "dark"
        await page.goto(f"{service.url}/routes?event=1")
        assert "sheet" in await page.inner_text(".effect")
        await page.click("nav >> text=Interviews")
        await page.fill("input[type=search]", "wayne")
        await page.click("text=Show")
        await page.click("tbody a[href^='/interviews/one']")
        await page.click("text=Erase this person…")
        await page.click("button:has-text('Erase permanently')")
        assert "Erased" in await page.inner_text("h1")
        await page.context.close()


async def findings(page, *rules):
    """What axe finds, by all rules or by some."""
    options = json.dumps({"runOnly": rules} if rules else {})
    return await page.evaluate(f"axe.run({options}).then(r => r.violations.map(v => v.id + ' ' + v.nodes[0].html))")


async def test_hostile_names_run_nothing_and_every_page_is_accessible(tmp_path, chromium):
    axe = (files("axe_playwright_python") / "axe.min.js").read_text()
    async with dashboard(tmp_path, SHEET) as (service, client):
        url = service.url
        for number, text in enumerate(HOSTILE):
            payload = sample("finish", id=f"x{number}", candidate={"name": text}, position={"id": "p", "name": text})
            assert (await service.post(payload)).status_code == 202
        await shown(client, "/deliveries?state=delivered", "delivered")
        make_dead(tmp_path)
        page = await enter(await chromium.new_context(reduced_motion="reduce"), url)
        for path in PAGES:
            await page.set_viewport_size(DESKTOP)
            await page.emulate_media(color_scheme="light")
            await page.goto(url + path)
            await page.evaluate(axe)
            assert (path, await findings(page)) == (path, [])
            await page.emulate_media(color_scheme="dark")
            assert (path, await findings(page, "color-contrast")) == (path, [])
            await page.set_viewport_size(PHONE)
            assert (path, await findings(page)) == (path, [])
            assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
        assert page.noted == []
        await page.context.close()
