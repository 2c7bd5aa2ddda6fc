"""The destinations of `connector demo`: an emulated Google sheet and an emulated Slack channel, with pages."""

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

from connector.config import Config, load
from connector.errors import UsageError

CONFIG_NAME = "demo.toml"
"""The configuration of a demo with emulators, written at each start, because their addresses change."""
SHEET_NEEDS = ("aiohttp", "googleapiclient", "gspread")
"""Modules of the emulated sheet and of its sink. The discovery document of googleapiclient defines what it accepts."""
SLACK_NEEDS = ("aiohttp", "slack_sdk")
"""Modules of the emulated workspace and of its sink."""
MESSAGES_PER_SECOND = 20
"""More than Slack allows, so that the channel shows the webhooks of a demo at once."""
CALLS_PER_MINUTE = 600
"""More than Google allows by default, for the same reason."""

_INSTALL = f"{shlex.quote(sys.executable)} -m pip install aiohttp google-api-python-client gspread"
_HEAD = """# Written by `connector demo` at each start.
timezone = "UTC"

[hireflix]
webhook_secrets = ["{secret}"]

[sinks.workbook]
type = "workbook"
path = "data/interviews.xlsx"

[sinks.console]
type = "console"
"""
_SHEET = """
[sinks.sheet]
type = "google_sheets"
spreadsheet = "{spreadsheet}"
credentials_file = "{key}"
api_url = "{url}"
calls_per_minute = {calls}
"""
_SLACK = """
[sinks.slack]
type = "slack"
token = "{token}"
channel = "{channel}"
api_url = "{url}"
rate_per_second = {rate}
"""


@dataclass(slots=True)
class DemoDestinations:
    """The configuration of a demo, the addresses of its pages by name, and why other pages are missing."""

    settings: Config
    pages: dict[str, str] = field(default_factory=dict)
    hints: list[str] = field(default_factory=list)


@contextmanager
def demo_destinations(folder: Path | None) -> Iterator[DemoDestinations]:
    """Runs the emulators, and yields the configuration for a folder, with any free port. Ignores the environment.

    Without a folder it creates a temporary one. Raises `UsageError` when the folder contains a configuration.
    """
    folder = _empty(folder)
    toml = _HEAD.format(secret=secrets.token_urlsafe(32))
    pages: dict[str, str] = {}
    hints: list[str] = []
    with ExitStack() as stack:
        if _has(SHEET_NEEDS):
            toml += _sheet(stack, folder, pages)
        else:
            hints.append(f"no emulated sheet, because a package is missing; to install it: {_INSTALL}")
        if _has(SLACK_NEEDS):
            toml += _slack(stack, pages)
        path = folder / CONFIG_NAME
        path.write_text(toml, encoding="utf-8")
        path.chmod(0o600)
        yield DemoDestinations(load(path, environ={"CONNECTOR_SERVER__PORT": "0"}, cwd=folder), pages, hints)


def _empty(folder: Path | None) -> Path:
    folder = (folder or Path(tempfile.mkdtemp(prefix="connector-demo-"))).absolute()
    if (folder / "config.toml").exists() or (folder / ".env").exists():
        raise UsageError(f"{folder} contains a configuration; name a folder without one")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def _has(modules: tuple[str, ...]) -> bool:
    return all(find_spec(name) is not None for name in modules)


def _sheet(stack: ExitStack, folder: Path, pages: dict[str, str]) -> str:
    from connector.emulators.google import GoogleEmulator

    google = stack.enter_context(GoogleEmulator())
    key = google.service_account_file(folder / "service-account.json")
    spreadsheet = google.add_spreadsheet()
    pages["Sheet"] = f"{google.url}/view/{spreadsheet}"
    return _SHEET.format(spreadsheet=spreadsheet, key=key.name, url=google.url, calls=CALLS_PER_MINUTE)


def _slack(stack: ExitStack, pages: dict[str, str]) -> str:
    from connector.emulators.slack.server import SlackEmulator

    slack = stack.enter_context(SlackEmulator())
    channel = slack.add_channel("recruiting")
    pages["Slack"] = f"{slack.url}/view/{channel}"
    return _SLACK.format(token=slack.token, channel=channel, url=slack.api_url, rate=MESSAGES_PER_SECOND)
