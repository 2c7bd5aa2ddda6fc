"""A process needs the secrets of its role and no others."""

import subprocess
import sys

import pytest

from connector.config import load
from connector.errors import ConfigError
from connector.operations.sinks import make_routing_table
from connector.role import Role, Secrets

SINKS = """
[sinks.chat]
type = "slack"
channel = "C0123456789"
[sinks.board]
type = "google_sheets"
spreadsheet = "1AbCdEfGhIjKlMnOpQrSt"
[sinks.forward]
type = "webhook"
timeout = 5
[sinks.dove]
type = "pigeon"
"""
CLIENTS = {"aiohttp", "google.auth", "gspread", "openpyxl", "slack_sdk"}


def loaded(folder, toml, needs):
    folder.write("config.toml", toml)
    return load(None, {}, folder.path, needs=needs)


def test_a_receiver_needs_no_secret_of_a_sink(folder):
    toml = '[hireflix]\nwebhook_secrets = ["hush"]\n' + SINKS
    config = loaded(folder, toml, Role.RECEIVER.needs)
    table = make_routing_table(config)
    assert {name: (spec.state, spec.edits) for name, spec in table.sinks.items()} == {
        "chat": (False, True),
        "board": (True, False),
        "forward": (False, False),
        "dove": (False, False),
    }


@pytest.mark.parametrize("url", ["", 'webhook_url = "https://hooks.slack.com/services/T/B/x"'])
def test_whether_a_chat_edits_does_not_depend_on_a_secret(folder, url):
    """A chat without a channel posts by an incoming webhook, whose address a receiver does not know."""
    config = loaded(folder, f'[sinks.chat]\ntype = "slack"\n{url}\n', Secrets.NONE)
    assert make_routing_table(config).sinks["chat"].edits is False


def test_a_receiver_reports_other_problems_of_sinks(folder):
    with pytest.raises(ConfigError) as raised:
        loaded(folder, SINKS + "colour = 1\n[sinks.other]\ntype = 'webhook'\ntimeout = -1\n", Secrets.NONE)
    assert [problem.place for problem in raised.value.problems] == ["sinks.dove.colour", "sinks.other.timeout"]


def test_a_worker_needs_no_webhook_secret(folder):
    config = loaded(folder, '[sinks.chat]\ntype = "console"\n', Role.WORKER.needs)
    assert config.hireflix.webhook_secrets == []


def test_a_process_that_does_both_needs_both(folder):
    with pytest.raises(ConfigError) as raised:
        loaded(folder, SINKS, Role.ALL.needs)
    places = {problem.place for problem in raised.value.problems}
    assert {"hireflix.webhook_secrets", "sinks.chat", "sinks.board", "sinks.forward.secret"} <= places


def test_a_receiver_imports_no_client_of_a_destination(folder):
    folder.write("config.toml", SINKS.replace('[sinks.dove]\ntype = "pigeon"\n', '[sinks.book]\ntype = "workbook"\n'
                                              'path = "a.xlsx"\n'))  # fmt: skip
    code = (
        "import sys\nfrom connector import app\nfrom connector.config import load\nfrom connector.role import Secrets\n"
        "from connector.operations.sinks import make_routing_table\n"
        "make_routing_table(load(environ={}, needs=Secrets.NONE))\nprint(*sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], cwd=folder.path, capture_output=True, text=True, timeout=60, check=True
    )
    assert "connector.config" in done.stdout.split()
    assert CLIENTS.isdisjoint(done.stdout.split())
