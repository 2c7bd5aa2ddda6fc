"""Makes overview.png: a real service with emulated Google and Slack, photographed by Chromium. Run from the checkout.

.venv/bin/python docs/images/make.py
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from connector.emulators.google import EMAIL, GoogleEmulator  # noqa: E402 - the checkout is put on the path above
from connector.emulators.slack import SlackEmulator  # noqa: E402
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


def settings(google: GoogleEmulator, slack: SlackEmulator, sheet: str, channel: str, key: Path) -> str:
    columns = ", ".join(f'{{ field = "{name}" }}' for name in COLUMNS)
    return f"""timezone = "Europe/Madrid"
[sinks.sheet]
type = "google_sheets"
spreadsheet = "{sheet}"
credentials_file = "{key}"
api_url = "{google.url}"
columns = [{columns}]
[sinks.chat]
type = "slack"
channel = "{channel}"
token = "{slack.token}"
api_url = "{slack.api_url}"
[store]
url = "sqlite:///store.db"
"""


def feed(service: Service) -> None:
    for body in stream.stream(40, time.time_ns() // 1_000_000, seed=7):
        signed = {"x-hireflix-signature": sign(SECRET, body)}
        httpx.post(service.hook, content=body, headers=signed, trust_env=False).raise_for_status()


def photograph(page: Path, image: Path, profile: str) -> None:
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--user-data-dir={profile}"]
    options += ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"]
    options += ["--window-size=1530,400", "--virtual-time-budget=3000", f"--screenshot={image}", page.as_uri()]
    subprocess.run(["chromium", *options], check=True, capture_output=True)


def main() -> None:
    with tempfile.TemporaryDirectory() as name, GoogleEmulator() as google, SlackEmulator() as slack:
        folder = Path(name)
        sheet, channel = google.add_spreadsheet(editors=(EMAIL,)), slack.add_channel("recruiting")
        key = google.service_account_file(folder / "key.json")
        with Service(folder, settings(google, slack, sheet, channel, key)) as service:
            feed(service)
            time.sleep(12)
            page = folder / "page.html"
            chat = f"{slack.url}/view/{channel}#messages"
            page.write_text(PAGE.replace("SHEET", f"{google.url}/view/{sheet}#Interviews").replace("CHAT", chat))
            (folder / "profile").mkdir()
            photograph(page, Path(__file__).parent / "overview.png", str(folder / "profile"))


if __name__ == "__main__":
    main()
