"""`init`: asks for the first configuration on a terminal, tests each answer, and writes two files."""

import os
import pty
import select
import stat
import time
import tomllib

import pytest
from dotenv import dotenv_values

from connector.config import load
from connector.emulators.google import GoogleEmulator
from connector.emulators.hireflix import Account, HireflixEmulator
from connector.emulators.slack import SlackEmulator
from connector.errors import UsageError
from connector.operations.configuration import Answers, FirstConfig, dotenv_text
from tests import forked

ZONE, SHEET, KEY, CHANNEL, TOKEN = (
    "Time zone",
    "Address of the spreadsheet",
    "File with the key",
    "Id of the",
    "Bot tok",
)
A_SHEET = "https://docs.google.com/spreadsheets/d/1AbCdEfGhIjKlMnOpQrSt/edit"
WEBHOOK, API, AGAIN = "Key of the webhook", "API key", "Answer again?"


@pytest.fixture
def google():
    with GoogleEmulator() as emulator:
        yield emulator


@pytest.fixture
def slack():
    with SlackEmulator() as emulator:
        yield emulator


@pytest.fixture
def hireflix():
    with HireflixEmulator(Account(lambda: time.time_ns() // 1_000_000)) as emulator:
        yield emulator


def run(folder, answers, environ=None):
    """Runs the command in a folder and types each answer after its question. Returns exit code and output."""
    person, terminal = pty.openpty()
    read, write = os.pipe()
    process = forked.start(
        "connector.cli",
        "init",
        environ={"PATH": os.environ["PATH"], "TZ": "UTC", **(environ or {})},
        folder=folder,
        stdin=terminal,  # not a terminal of its own: it reads secrets from standard input then
        stdout=write,
        stderr=write,
    )
    os.close(write)
    output = ""
    try:
        for question, answer in answers:
            output = read_until(read, output, question)
            os.write(person, f"{answer}\n".encode())
        with open(read, closefd=False) as rest:
            output += rest.read()
        process.wait(60)
    finally:
        process.kill()
        process.wait()
        for file in (read, person, terminal):
            os.close(file)
    return process.returncode, output


def read_until(file, output, question):
    """Reads until a question was asked that is not in the output so far. Returns the whole output."""
    start = len(output)
    while question not in output[start:] or not output.endswith(": "):
        ready, _, _ = select.select([file], [], [], 60)
        assert ready, f"waits for {question!r} after {output}"
        piece = os.read(file, 4096)
        assert piece, output
        output += piece.decode()
    return output


def api_urls(google, slack, hireflix):
    return {
        "CONNECTOR_DEFAULTS__GOOGLE_SHEETS__API_URL": google.url,
        "CONNECTOR_DEFAULTS__SLACK__API_URL": slack.api_url,
        "CONNECTOR_HIREFLIX__API_URL": hireflix.api_url,
    }


def test_nothing_but_enter_gives_the_workbook_and_the_console(tmp_path):
    code, output = run(tmp_path, [(question, "") for question in (ZONE, SHEET, CHANNEL, WEBHOOK, API)])
    assert code == 0, output
    found = tomllib.loads((tmp_path / "config.toml").read_text())
    assert found == {
        "timezone": "UTC",
        "sinks": {"workbook": {"type": "workbook", "path": "data/interviews.xlsx"}, "console": {"type": "console"}},
    }
    assert "Missing: CONNECTOR_HIREFLIX__WEBHOOK_SECRETS" in output


def test_sheet_channel_and_keys_are_tested_and_the_files_work(tmp_path, google, slack, hireflix):
    google.service_account_file(tmp_path / "key.json")
    sheet = google.add_spreadsheet()
    channel = slack.add_channel("hiring")
    address = f"https://docs.google.com/spreadsheets/d/{sheet}/edit"
    environ = api_urls(google, slack, hireflix)
    answers = [
        *[(ZONE, "Europe/Madrid"), (SHEET, address), (KEY, "key.json"), (CHANNEL, channel), (TOKEN, slack.token)],
        *[(WEBHOOK, "it's $ecret"), (API, "wrong"), (AGAIN, "y"), (API, "test-key")],
    ]
    code, output = run(tmp_path, answers, environ)
    assert code == 0, output
    assert "ok        Hireflix accepts the key" in output
    assert "Written: config.toml, .env" in output
    config = load(tmp_path / "config.toml", environ=environ)
    assert config.timezone == "Europe/Madrid"
    assert config.hireflix.webhook_secrets[0].get_secret_value() == "it's $ecret"
    assert config.hireflix.api_key.get_secret_value() == "test-key"
    assert set(config.sinks) == {"hiring_sheet", "recruiting"}
    assert stat.S_IMODE((tmp_path / ".env").stat().st_mode) == 0o600
    assert slack.token not in (tmp_path / "config.toml").read_text() + output


def test_with_an_api_key_the_key_of_the_webhook_is_read_from_hireflix(tmp_path, hireflix):
    environ = {"CONNECTOR_HIREFLIX__API_URL": hireflix.api_url}
    answers = [(ZONE, ""), (SHEET, ""), (CHANNEL, ""), (WEBHOOK, ""), (API, "test-key")]
    code, output = run(tmp_path, answers, environ)
    assert code == 0, output
    assert "the key of the webhook was read from Hireflix" in output
    assert "connector hireflix webhook --create" in output
    config = load(tmp_path / "config.toml", environ=environ)
    assert config.hireflix.webhook_secrets[0].get_secret_value() == hireflix.account.secret
    assert hireflix.account.secret not in output


def test_an_answer_that_does_not_work_says_why_and_is_asked_again(tmp_path, google):
    answers = [(ZONE, "Nowhere/City"), (ZONE, ""), (SHEET, A_SHEET), (KEY, "missing.json"), (AGAIN, "y")]
    code, output = run(tmp_path, [*answers, *[(question, "") for question in (SHEET, CHANNEL, WEBHOOK, API)]])
    assert code == 0, output
    assert "must be an IANA time zone" in output
    assert "missing.json" in output
    assert "hiring_sheet" not in (tmp_path / "config.toml").read_text()


def test_answers_that_are_kept_although_their_test_failed_are_named_at_the_end(tmp_path, google, slack, hireflix):
    google.service_account_file(tmp_path / "key.json")
    environ = api_urls(google, slack, hireflix)
    answers = [
        *[(ZONE, ""), (SHEET, A_SHEET), (KEY, "key.json"), (AGAIN, "n")],
        *[(CHANNEL, slack.add_channel("hiring")), (TOKEN, "xoxb-wrong"), (AGAIN, "n")],
        *[(WEBHOOK, "secret"), (API, "wrong"), (AGAIN, "n")],
    ]
    code, output = run(tmp_path, answers, environ)
    assert code == 0, output
    assert output.count("is kept although its test failed") == 3
    end = output.partition("Written: ")[2]
    assert "The test failed for the sink hiring_sheet, the sink recruiting, the API key of Hireflix: " in end
    assert "connector check --online" in end
    assert set(load(tmp_path / "config.toml", environ=environ).sinks) == {"hiring_sheet", "recruiting"}


def test_text_that_is_not_the_address_of_a_spreadsheet_is_asked_again_before_the_credentials(tmp_path):
    answers = [(ZONE, ""), *[(SHEET, text) for text in ("nonsense", "my sheet", "https://example.org/x")], (SHEET, "")]
    code, output = run(tmp_path, [*answers, *[(question, "") for question in (CHANNEL, WEBHOOK, API)]])
    assert code == 0, output
    assert output.count("paste the address from the browser") == 3
    assert KEY not in output
    assert "hiring_sheet" not in (tmp_path / "config.toml").read_text()


def test_text_that_is_not_the_id_of_a_channel_is_asked_again_before_the_token(tmp_path):
    answers = [(ZONE, ""), (SHEET, ""), (CHANNEL, "hiring"), (CHANNEL, "#hiring"), (CHANNEL, ""), (WEBHOOK, "")]
    code, output = run(tmp_path, [*answers, (API, "")])
    assert code == 0, output
    assert output.count("must be a channel id such as C0123456789") == 2
    assert TOKEN not in output


def test_an_existing_config_file_is_not_changed(tmp_path):
    (tmp_path / "config.toml").write_text("# mine\n")
    with pytest.raises(UsageError, match="exists; edit it"):
        FirstConfig(tmp_path / "config.toml")


def test_without_a_terminal_it_says_what_to_do_instead(tmp_path):
    done = forked.run("connector.cli", "init", environ=os.environ, folder=tmp_path)
    assert done.returncode == 2
    assert "copy config.example.toml" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_other_lines_of_the_env_file_stay_and_old_values_are_replaced():
    before = "# mine\nOTHER=1\nexport CONNECTOR_A__B=old\n"
    assert dotenv_text(before, {"CONNECTOR_A__B": "new"}) == "# mine\nOTHER=1\nCONNECTOR_A__B='new'\n"


@pytest.mark.parametrize("value", ["plain", "it's", 'say "x"', "a\\b", "#1 $HOME", '["a", "b"]'])
def test_a_value_is_read_back_as_it_was(tmp_path, value):
    (tmp_path / ".env").write_text(dotenv_text("", {"CONNECTOR_A": value}))
    assert dotenv_values(tmp_path / ".env") == {"CONNECTOR_A": value}


def test_a_value_that_an_env_file_cannot_hold_is_refused():
    with pytest.raises(UsageError, match="set the variable in the environment"):
        dotenv_text("", {"CONNECTOR_A": "x${HOME}"})


@pytest.mark.parametrize("text", ['a"b', "a\\b", "é🙂", "a\x7fb", "a\tb"])
def test_every_answer_is_valid_toml(text):
    written = Answers("UTC", {"sheet": {"type": text}}).config_text()
    assert tomllib.loads(written)["sinks"]["sheet"]["type"] == text
