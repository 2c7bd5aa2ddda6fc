"""The five documented events, each three times and in many orders, through the real service to every sink."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import permutations
from pathlib import Path
from typing import Any

import httpx
import openpyxl
import pytest

from connector.emulators.google import EMAIL, GoogleEmulator
from connector.emulators.slack import SlackEmulator
from tests.flows.process import ANY_AGE_SECONDS, Service, post

SAMPLES = [json.loads(path.read_text()) for path in sorted((Path(__file__).parents[1] / "samples").glob("*.json"))]
ORDERS = list(permutations(range(5)))
SOME_ORDERS = ORDERS[::5]
"""With every event at every place."""
ANY_ORDER = pytest.mark.parametrize(
    "orders", [pytest.param(SOME_ORDERS, id="some"), pytest.param(ORDERS, id="all", marks=pytest.mark.chaos)]
)


def renamed(payload: dict[str, Any], suffix: str, interview: str | None = None) -> dict[str, Any]:
    """The payload with another interview id."""
    data = payload["data"] | {"id": (interview or payload["data"]["id"]) + suffix}
    return payload | {"data": data}


@pytest.fixture(scope="module")
def google() -> Iterator[GoogleEmulator]:
    with GoogleEmulator() as emulator:
        yield emulator


def post_all(service: Service, orders: list[list[dict[str, Any]]]) -> None:
    """Posts the events of each order one after the other, several orders at the same time, every event three times."""

    def one(order: list[dict[str, Any]]) -> list[int]:
        with httpx.Client(trust_env=False, timeout=30) as client:
            return [post(client, service.hook, payload) for payload in order * 3]

    with ThreadPoolExecutor(8) as threads:
        for statuses in threads.map(one, orders):
            assert statuses == [202] * 15


def sheet_rows(google: GoogleEmulator, spreadsheet: str) -> dict[str, list[Any]]:
    rows = google.rows(spreadsheet, "Interviews")
    key = rows[0].index("Interview ID")
    found = {row[key]: row[:key] for row in rows[1:]}
    assert len(found) == len(rows) - 1
    return found


def book_rows(path: Path) -> dict[str, list[Any]]:
    book = openpyxl.load_workbook(path, read_only=True)
    rows = [list(row) for row in book.worksheets[0].iter_rows(values_only=True)]
    book.close()
    key = rows[0].index("Interview ID")
    found = {row[key]: row[:key] for row in rows[1:]}
    assert len(found) == len(rows) - 1
    return found


def sinks(google: GoogleEmulator, spreadsheet: str, folder: Path) -> str:
    credentials = google.service_account_file(folder / "service-account.json")
    return f"""
    [sinks.book]
    type = "workbook"
    path = "data/interviews.xlsx"
    [sinks.sheet]
    type = "google_sheets"
    spreadsheet = "{spreadsheet}"
    credentials_file = "{credentials}"
    api_url = "{google.url}"
    calls_per_minute = 6000
    [sinks.chat]
    type = "console"
    """


def same_cells(rows: dict[str, list[Any]], starts: str, count: int) -> list[Any]:
    """The cells that are equal in all `count` rows of one interview, in any order of its events."""
    chosen = [row for key, row in rows.items() if key.startswith(starts)]
    assert len(chosen) == count
    assert all(row == chosen[0] for row in chosen)
    return chosen[0]


@ANY_ORDER
def test_any_order_of_the_samples_gives_the_same_three_rows(tmp_path, google, orders):
    """Every event of each order three times: three rows with the same cells, in the sheet and in the workbook."""
    spreadsheet = google.add_spreadsheet(editors=[EMAIL])
    with Service(tmp_path, sinks(google, spreadsheet, tmp_path)) as service:
        post_all(service, [[renamed(SAMPLES[at], f"-{number}") for at in order] for number, order in enumerate(orders)])
        service.settled()
        for rows in (sheet_rows(google, spreadsheet), book_rows(service.folder / "data" / "interviews.xlsx")):
            assert len(rows) == 3 * len(orders)
            assert same_cells(rows, "68ff5ed8b07cc148bddcae02", len(orders))[:6] == [
                "Stef Jordens", "stef@gmail.com", None, "Social Media Manager", "Deleted", None,
            ]  # fmt: skip
            assert same_cells(rows, "643e972db7d39e63cf468844", len(orders))[:6] == [
                "Wayne Knight", "wayne.knight@example.com", None, "Graduate Program NYU", "To evaluate", None,
            ]  # fmt: skip
            assert same_cells(rows, "68ff63a714e4aab6ada84854", len(orders))[:6] == [
                "John Bow", "john@gmail.com", None, "Social Media Manager", "To evaluate", 4,
            ]  # fmt: skip
        settled = service.query("SELECT count(*) FROM delivery WHERE sink = 'chat' AND state IN (1, 2)")
        assert settled == [(5 * len(orders),)]


@ANY_ORDER
def test_any_order_of_the_samples_under_one_id_gives_one_row(tmp_path, google, orders):
    """The same five events given one interview id: one row, the same for every order."""
    spreadsheet = google.add_spreadsheet(editors=[EMAIL])
    with Service(tmp_path, sinks(google, spreadsheet, tmp_path)) as service:
        post_all(
            service,
            [[renamed(SAMPLES[at], f"-{number}", "one") for at in order] for number, order in enumerate(orders)],
        )
        service.settled()
        rows = sheet_rows(google, spreadsheet)
        assert len(rows) == len(orders)
        assert same_cells(rows, "one", len(orders))[4] == "Deleted"
        assert book_rows(service.folder / "data" / "interviews.xlsx").keys() == rows.keys()


def test_each_position_has_its_own_channel(tmp_path):
    """Messages are posted only where the routes say. Events that no route matches are sent to the route `otherwise`."""
    with SlackEmulator() as slack:
        graduates, social, rest = (slack.add_channel(name) for name in ("graduates", "social", "rest"))
        toml = f"""
        [defaults.slack]
        token = "{slack.bot.token}"
        api_url = "{slack.api_url}"
        rate_per_second = 20
        digest_window = 1
        max_age = {ANY_AGE_SECONDS}
        """
        for name, channel in (("graduates", graduates), ("social", social), ("rest", rest)):
            toml += f'\n[sinks.{name}]\ntype = "slack"\nchannel = "{channel}"\n'
        toml += """
        [[routes]]
        positions = ["graduate *"]
        sinks = ["graduates"]
        [[routes]]
        positions = ["68b43e38b19cf131a17c543f"]
        sinks = ["social"]
        [[routes]]
        otherwise = true
        sinks = ["rest"]
        """
        with Service(tmp_path, toml) as service:
            with httpx.Client(trust_env=False) as client:
                assert [post(client, service.hook, payload) for payload in SAMPLES * 3] == [202] * 15
            service.settled()
            events = "FROM delivery WHERE event_seq IS NOT NULL AND silent = 0"
            routed = service.query(f"SELECT sink, count(*) {events} GROUP BY sink ORDER BY sink")
        # the late status-change names another position, but the merged interview has the newest one
        assert routed == [("graduates", 1), ("rest", 1), ("social", 3)]
        texts = {
            channel: [message.text for message in slack.messages(channel)] for channel in (graduates, social, rest)
        }
        assert len(texts[graduates]) == 1
        assert "Wayne Knight" in texts[graduates][0]
        assert not any("Wayne" in text for text in texts[social] + texts[rest])
        assert any("John Bow" in text for text in texts[social])
        assert slack.problems() == []
