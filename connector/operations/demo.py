"""The surroundings of `connector demo`: an emulated Hireflix account, Google sheet and Slack channel, with pages."""

from __future__ import annotations

import secrets
import shlex
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from connector.config import Config, load
from connector.errors import UsageError
from connector.hireflix.samples import stream
from connector.operations.store_access import now

if TYPE_CHECKING:
    from connector.emulators.hireflix import HireflixEmulator

CONFIG_NAME = "demo.toml"
"""The configuration of a demo with emulators, written at each start, because their addresses change."""
SHEET_NEEDS = ("aiohttp", "googleapiclient", "gspread")
"""Modules of the emulated sheet and of its sink. The discovery document of googleapiclient defines what it accepts."""
SLACK_NEEDS = ("aiohttp", "slack_sdk")
"""Modules of the emulated workspace and of its sink."""
HIREFLIX_NEEDS = ("aiohttp", "graphql")
"""Modules of the emulated account."""
DAY_MS = 86_400_000
EARLIER_EVENTS = 60
"""Webhooks from before the demo: their interviews are only in Hireflix, for the backfill."""
EARLIER_SEED = 2
"""Makes other interviews than the webhooks of the demo."""
MESSAGES_PER_SECOND = 20
"""More than Slack allows, so that the channel shows the webhooks of a demo at once."""
CALLS_PER_MINUTE = 600
"""More than Google allows by default, for the same reason."""
DECISION_TITLE = "Decision"
"""Title of the column in which visitors decide."""

_FIELDS = (
    "candidate_name", "position_name", "stage", "score", "created_at", "completed_at", "comments",
    "share_url", "review_url", "candidate_email", "updated_at", "interview_id",
)  # fmt: skip
"""Columns of the emulated sheet."""

_INSTALL = (
    f"{shlex.quote(sys.executable)} -m pip install aiohttp google-api-python-client graphql-core gspread slack-sdk"
)
_HEAD = """# Written by `connector demo` at each start.
timezone = "UTC"

[hireflix]
webhook_secrets = ["{secret}"]
{api}
[sinks.workbook]
type = "workbook"
path = "data/interviews.xlsx"

[sinks.console]
type = "console"
"""
_API = """api_key = "{key}"
api_url = "{url}"
enrich = ["share_url", "comments"]
"""
_SHEET = """
[sinks.sheet]
type = "google_sheets"
spreadsheet = "{spreadsheet}"
credentials_file = "{key}"
api_url = "{url}"
calls_per_minute = {calls}
columns = [
{columns}
]
"""
_DECISION_COLUMN = f'decision_column = "{DECISION_TITLE}"\n'
_SLACK = """
[sinks.slack]
type = "slack"
token = "{token}"
channel = "{channel}"
api_url = "{url}"
rate_per_second = {rate}
"""
_DECISIONS = """app_token = "{token}"
decisions.deciders = ["{user}"]
"""


@dataclass(slots=True)
class DemoDestinations:
    """The configuration of a demo, the addresses of its pages by name, and why other pages are missing.

    `hireflix` is the emulated account, if there is one.
    """

    settings: Config
    pages: dict[str, str] = field(default_factory=dict)
    hints: list[str] = field(default_factory=list)
    hireflix: HireflixEmulator | None = None

    @property
    def decide(self) -> str:
        """Where a visitor can decide on an interview, `""` without an account that a decision reaches."""
        if self.hireflix is None:
            return ""
        places = {
            "Sheet": f"in the column {DECISION_TITLE} of the sheet (a choice counts after one to two minutes)",
            "Slack": "with a button in the channel",
        }
        return ", ".join([*(text for page, text in places.items() if page in self.pages), "or on the dashboard"])

    def happens(self, body: bytes) -> bool:
        """Applies a webhook of the stream to the emulated account. Returns `False` for an interview that the visitor
        decided on: its generated history has ended.
        """
        return self.hireflix is None or self.hireflix.take(body)

    def send_webhooks_to(self, url: str) -> None:
        """Lets the emulated account send the webhooks of decisions to the service."""
        if self.hireflix is not None:
            self.hireflix.add_webhook(url)


@contextmanager
def demo_destinations(folder: Path | None) -> Iterator[DemoDestinations]:
    """Runs the emulators, and yields the configuration for a folder, with any free port. Ignores the environment.

    Without a folder it creates a temporary one. Raises `UsageError` when the folder contains a configuration.
    """
    folder = _empty(folder)
    secret = secrets.token_urlsafe(32)
    pages: dict[str, str] = {}
    wanted = {"Hireflix account": HIREFLIX_NEEDS, "sheet": SHEET_NEEDS, "channel": SLACK_NEEDS}
    missing = ", ".join(name for name, modules in wanted.items() if not _has(modules))
    hints = [f"not emulated, because a package is missing: {missing}; to install it: {_INSTALL}"] if missing else []
    with ExitStack() as stack:
        hireflix = _hireflix(stack, secret, pages) if _has(HIREFLIX_NEEDS) else None
        api = "" if hireflix is None else _API.format(key=hireflix.key, url=hireflix.api_url)
        toml = _HEAD.format(secret=secret, api=api)
        if _has(SHEET_NEEDS):
            toml += _sheet(stack, folder, pages, decides=hireflix is not None)
        if _has(SLACK_NEEDS):
            toml += _slack(stack, pages, decides=hireflix is not None)
        path = folder / CONFIG_NAME
        path.write_text(toml, encoding="utf-8")
        path.chmod(0o600)
        yield DemoDestinations(load(path, environ={"CONNECTOR_SERVER__PORT": "0"}, cwd=folder), pages, hints, hireflix)


def _empty(folder: Path | None) -> Path:
    folder = (folder or Path(tempfile.mkdtemp(prefix="connector-demo-"))).absolute()
    if (folder / "config.toml").exists() or (folder / ".env").exists():
        raise UsageError(f"{folder} contains a configuration; name a folder without one")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def _has(modules: tuple[str, ...]) -> bool:
    return all(find_spec(name) is not None for name in modules)


def _hireflix(stack: ExitStack, secret: str, pages: dict[str, str]) -> HireflixEmulator:
    """Starts an account with interviews from before the demo."""
    from connector.emulators.hireflix import Account, HireflixEmulator

    account = Account(now, secret=secret)
    for body in stream(EARLIER_EVENTS, now() - DAY_MS, EARLIER_SEED):
        account.take(body)
    hireflix = stack.enter_context(HireflixEmulator(account, key=secrets.token_urlsafe(16), sends_webhooks=True))
    pages["Hireflix"] = f"{hireflix.url}/view"
    return hireflix


def _sheet(stack: ExitStack, folder: Path, pages: dict[str, str], *, decides: bool) -> str:
    from connector.emulators.google import GoogleEmulator

    google = stack.enter_context(GoogleEmulator())
    key = google.service_account_file(folder / "service-account.json")
    spreadsheet = google.add_spreadsheet()
    pages["Sheet"] = f"{google.url}/view/{spreadsheet}"
    columns = ",\n".join(f'  {{ field = "{name}" }}' for name in _FIELDS)
    toml = _SHEET.format(spreadsheet=spreadsheet, key=key.name, url=google.url, calls=CALLS_PER_MINUTE, columns=columns)
    return toml + (_DECISION_COLUMN if decides else "")


def _slack(stack: ExitStack, pages: dict[str, str], *, decides: bool) -> str:
    from connector.emulators.slack.server import SlackEmulator
    from connector.emulators.slack.view import VISITOR

    slack = stack.enter_context(SlackEmulator())
    channel = slack.add_channel("recruiting")
    pages["Slack"] = f"{slack.url}/view/{channel}"
    toml = _SLACK.format(token=slack.token, channel=channel, url=slack.api_url, rate=MESSAGES_PER_SECOND)
    return toml + (_DECISIONS.format(token=slack.app_token, user=VISITOR) if decides else "")
