"""Makes the pictures of the documentation: a real service with emulated destinations, photographed by Chromium.

make pictures
"""

from __future__ import annotations

import json
import random
import shutil
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import httpx
from playwright.sync_api import Browser, Page, sync_playwright

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1]))

from connector.emulators.google import EMAIL, GoogleEmulator  # noqa: E402 - the checkout is put on the path above
from connector.emulators.slack import SlackEmulator  # noqa: E402
from connector.hireflix import samples  # noqa: E402
from connector.hireflix.samples import stream  # noqa: E402
from connector.hireflix.signature import sign  # noqa: E402
from tests.flows.process import SECRET, Service  # noqa: E402

PAGE = """<!doctype html><meta charset=utf-8><style>body{margin:0;background:#f4f5f7;font:13px system-ui}
main{display:flex;gap:16px;padding:16px}
section{background:#fff;border:1px solid #d5d8de;border-radius:8px;overflow:hidden}
h2{font:600 13px system-ui;margin:0;padding:8px 12px;border-bottom:1px solid #d5d8de;color:#444}
iframe{border:0;display:block}</style><main>
<section><h2>Google Sheets · Hiring</h2><iframe src="SHEET" width=1010 height=330></iframe></section>
<section><h2>Slack · #recruiting</h2><iframe src="CHAT" width=470 height=330></iframe></section></main>"""
COLUMNS = ["candidate_name", "position_name", "stage", "score", "completed_at", "review_url", "interview_id"]
PASSWORD = "correct horse battery"
EVENTS = 88
DAY_MS = 86_400_000
SETTLE_SECONDS = 12
"""Time in which the sinks deliver everything."""
REASON = "status 422: the position is unknown"


def settings(google: GoogleEmulator, slack: SlackEmulator, sheet: str, channel: str, key: Path) -> str:
    columns = ", ".join(f'{{ field = "{name}" }}' for name in COLUMNS)
    return f"""timezone = "Europe/Madrid"
[sinks.hiring_sheet]
type = "google_sheets"
spreadsheet = "{sheet}"
credentials_file = "{key}"
api_url = "{google.url}"
columns = [{columns}]
[sinks.recruiting]
type = "slack"
channel = "{channel}"
token = "{slack.token}"
api_url = "{slack.api_url}"
[sinks.ats]
type = "webhook"
url = "http://127.0.0.1:9/events"
secret = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
[[routes]]
sinks = ["hiring_sheet"]
[[routes]]
sinks = ["recruiting"]
events = ["interview.finish", "interview.status-change", "interview.score-updated"]
[[routes]]
sinks = ["ats"]
stages = ["shortlisted"]
[store]
url = "sqlite:///store.db"
[dashboard]
password = "{PASSWORD}"
"""


def feed(service: Service) -> None:
    """Sends the stream, and waits until the sinks have delivered it."""
    hook = f"{service.url}/webhooks/hireflix"
    for body in stream(EVENTS, time.time_ns() // 1_000_000, seed=7):
        signed = {"x-hireflix-signature": sign(SECRET, body)}
        httpx.post(hook, content=body, headers=signed, trust_env=False).raise_for_status()
    time.sleep(SETTLE_SECONDS)


def spread(file: Path) -> None:
    """Spreads what was received over the last day, and makes some dead letters of the webhook, two of them older."""
    now, chosen = time.time_ns() // 1_000_000, random.Random(5)
    ages = sorted((int(chosen.betavariate(1.2, 2.2) * DAY_MS) for _ in range(EVENTS)), reverse=True)
    with closing(sqlite3.connect(file)) as store, store:
        events = [row[0] for row in store.execute("SELECT seq FROM event ORDER BY seq")]
        for seq, age in zip(events, ages, strict=False):
            at, lag = now - age, int(chosen.lognormvariate(7.2, 1.1))
            store.execute("UPDATE event SET received_at = ? WHERE seq = ?", (at, seq))
            change = "UPDATE delivery SET since = ?, done_at = ? WHERE event_seq = ? AND done_at IS NOT NULL"
            store.execute(change, (at, at + lag, seq))
        store.execute("UPDATE delivery SET since = done_at - 2000 WHERE event_seq IS NULL AND done_at IS NOT NULL")
        dead = [row[0] for row in store.execute("SELECT id FROM delivery WHERE sink = 'ats' ORDER BY id LIMIT 5")]
        for place, id_ in enumerate(dead):
            at = now - (3 * DAY_MS if place < 2 else place * DAY_MS // 12)  # noqa: PLR2004 - the first two
            change = "UPDATE delivery SET state = 3, reason = ?, since = ?, done_at = ?, attempts = 4 WHERE id = ?"
            store.execute(change, (REASON, at, at + 60_000, id_))


def sign_in(page: Page, service: Service, path: str) -> None:
    page.goto(f"{service.url}/sign-in?then={path}")
    page.fill("#password", PASSWORD)
    page.click("button:has-text('Sign in')")
    page.wait_for_selector("#verdict")


def photograph(
    browser: Browser, name: str, size: tuple[int, int], show: Callable[[Page], object], **options: str
) -> None:
    """Shows something on a page of this size, and keeps the picture."""
    page = browser.new_page(viewport={"width": size[0], "height": size[1]}, **options)
    show(page)
    page.wait_for_load_state("networkidle")
    page.screenshot(path=HERE / name)
    page.close()


def photograph_dashboard(browser: Browser, service: Service) -> None:
    photograph(browser, "dashboard-overview.png", (1120, 1480), lambda page: sign_in(page, service, "/"))
    photograph(
        browser,
        "dashboard-deliveries.png",
        (1120, 760),
        lambda page: sign_in(page, service, "/deliveries"),
        color_scheme="dark",
    )
    photograph(browser, "dashboard-phone.png", (360, 760), lambda page: open_first_interview(page, service))
    photograph(browser, "dashboard-simulator.png", (1120, 900), lambda page: simulate(page, service))


def open_first_interview(page: Page, service: Service) -> None:
    sign_in(page, service, "/interviews?stage=shortlisted")
    page.click("tbody a >> nth=0")
    scroll_to(page, ".head")


def simulate(page: Page, service: Service) -> None:
    """Explains the payload of a candidate who finished."""
    payload = json.loads(samples.dated(samples.sample("interview.finish"), time.time_ns() // 1_000_000))
    payload["data"]["score"] = 4
    sign_in(page, service, "/routes")
    page.fill("#body", json.dumps(payload))
    page.click("button:has-text('Explain the payload')")
    scroll_to(page, "h1")


def scroll_to(page: Page, place: str) -> None:
    page.locator(place).first.evaluate("element => scrollTo(0, element.getBoundingClientRect().top + scrollY - 16)")


def show_frames(page: Page, frames: Path) -> None:
    """Shows the beginning of the sheet and of the chat."""
    page.goto(frames.as_uri())
    for frame in page.frames[1:]:
        frame.wait_for_load_state()
        frame.evaluate("document.querySelector(location.hash)?.scrollIntoView()")


def main() -> None:
    """Runs everything once, and overwrites the pictures."""
    with (
        tempfile.TemporaryDirectory() as name,
        GoogleEmulator() as google,
        SlackEmulator() as slack,
        sync_playwright() as playwright,
    ):
        folder = Path(name)
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        sheet, channel = google.add_spreadsheet(editors=(EMAIL,)), slack.add_channel("recruiting")
        toml = settings(google, slack, sheet, channel, google.service_account_file(folder / "key.json"))
        with Service(folder, toml) as service:
            feed(service)
        frames = folder / "page.html"
        chat = f"{slack.url}/view/{channel}#messages"
        frames.write_text(PAGE.replace("SHEET", f"{google.url}/view/{sheet}#Interviews").replace("CHAT", chat))
        photograph(browser, "overview.png", (1530, 400), lambda page: show_frames(page, frames))
        spread(folder / "store.db")
        with Service(folder, toml) as service:
            time.sleep(SETTLE_SECONDS / 2)
            photograph_dashboard(browser, service)
        browser.close()


if __name__ == "__main__":
    main()
