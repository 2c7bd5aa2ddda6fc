"""The dashboard in a real Chromium: what a user does, without script, on a phone, and for a screen reader."""

from __future__ import annotations

import os
import re
import shutil
from contextlib import asynccontextmanager
from importlib.resources import files

import pytest

from connector.testing.make import HOSTILE_TEXTS
from tests.serving import sample
from tests.web.browsing import PASSWORD, dashboard
from tests.web.test_actions import SHEET, act, make_dead, shown

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(
    CHROMIUM is None and "CI" not in os.environ, reason="Chromium is not installed; apt-get install chromium"
)
PAGES = ("/", "/interviews", "/deliveries?state=dead", "/sinks", "/sinks/sheet", "/routes?event=1", "/audit")
HOSTILE = [
    *HOSTILE_TEXTS.values(),
    '"><script>hit()</script>',
    "<img src=/hit onerror=hit()>",
    '<b hx-get="/hit" hx-trigger="load">',
]


@asynccontextmanager
async def chromium():
    from playwright.async_api import async_playwright

    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        await browser.close()


async def enter(context, url, then="/"):
    """A page after the sign-in. A script that fails or runs where none may, and a request elsewhere, is noted."""
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
async def with_dead_letter(folder):
    """A dashboard with one dead letter, whose cause is repaired meanwhile."""
    async with dashboard(folder, SHEET) as (service, client):
        await act(client, "/actions/pause", sink="sheet")
        await service.post(sample("finish"))
        make_dead(folder)
        await act(client, "/actions/resume", sink="sheet")
        yield service.url, client


async def test_a_user_finds_a_failure_and_replays_it_and_sees_it_delivered_without_reloading(tmp_path):
    async with with_dead_letter(tmp_path) as (url, _), chromium() as browser:
        page = await enter(await browser.new_context(), url)
        assert await page.title() == "1 problem needs you · Overview – connector"
        await page.click("text=Show them")
        assert "the position is unknown here" in await page.inner_text("main")
        await page.click("tbody >> text=the position is unknown here")
        await page.click("text=Replay or dismiss all of these…")
        await page.click("text=Replay this delivery")
        await page.wait_for_url(re.compile("/deliveries"))
        loads = []
        page.on("load", lambda: loads.append(page.url))
        await page.wait_for_selector("tbody td:has-text('delivered')")
        await page.wait_for_function("document.title.startsWith('Deliveries')")
        assert (loads, page.noted) == ([], [])


async def test_everything_works_without_script_and_on_a_phone(tmp_path):
    async with with_dead_letter(tmp_path) as (url, client), chromium() as browser:
        context = await browser.new_context(java_script_enabled=False, viewport={"width": 320, "height": 640})
        page = await enter(context, url, "/deliveries")
        await page.click("tbody a[href^='/deliveries/']")
        await page.click("text=Replay or dismiss…")
        await page.click("text=Replay this delivery")
        await shown(client, "/deliveries", "delivered")
        await page.click("nav >> text=Deliveries")
        assert "delivered" in await page.inner_text("main")


async def test_hostile_names_run_nothing_and_every_page_is_accessible(tmp_path):
    axe = (files("axe_playwright_python") / "axe.min.js").read_text()
    async with dashboard(tmp_path, SHEET) as (service, client), chromium() as browser:
        url = service.url
        for number, text in enumerate(HOSTILE):
            payload = sample("finish", id=f"x{number}", candidate={"name": text}, position={"id": "p", "name": text})
            assert (await service.post(payload)).status_code == 202
        await shown(client, "/deliveries?state=delivered", "delivered")
        make_dead(tmp_path)
        for settings in (
            {"viewport": {"width": 1280, "height": 900}},
            {"viewport": {"width": 320, "height": 640}, "color_scheme": "dark"},
        ):
            page = await enter(await browser.new_context(**settings), url)
            for path in PAGES:
                await page.goto(url + path)
                await page.evaluate(axe)
                found = await page.evaluate("axe.run().then(r => r.violations.map(v => v.id + ' ' + v.nodes[0].html))")
                assert (path, found) == (path, [])
                assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
            assert page.noted == []
