"""`connector init`."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import typer

from connector.cli import lines_of
from connector.cli import options as o
from connector.cli.check import print_findings
from connector.cli.output import is_interactive
from connector.config import HireflixSettings
from connector.config.settings import known_timezone
from connector.errors import ConfigError, ConnectorError, UsageError
from connector.hireflix.api import HireflixError
from connector.hireflix.webhook_api import WebhookApi
from connector.operations.configuration import Answers, FirstConfig
from connector.operations.sinks import online_findings
from connector.operations.source import open_api_for_user

SHEET = "hiring_sheet"
"""The name of the Google Sheet in the configuration."""
CHANNEL = "recruiting"
"""The name of the Slack channel in the configuration."""
SLACK_TOKEN = "CONNECTOR_DEFAULTS__SLACK__TOKEN"  # noqa: S105 - the name of a variable
WEBHOOK_SECRETS = "CONNECTOR_HIREFLIX__WEBHOOK_SECRETS"
API_KEY = "CONNECTOR_HIREFLIX__API_KEY"


def init(config: o.ConfigOption = None) -> None:
    """Ask for the first configuration, test it, and write it.

    Asks for the time zone, the Google Sheet, the Slack channel and the keys of Hireflix. Each answer is tested at its
    destination, and nothing is written there. Writes config.toml, and the secrets to .env beside it with mode 0600.
    Changes no existing config file. Every question can be skipped with Enter.
    """
    if not is_interactive():
        raise UsageError("init asks questions, so it needs a terminal; without one copy config.example.toml")
    first = FirstConfig(config or Path("config.toml"))
    print("Press Enter to accept the value in brackets, or to skip a question. Nothing is written before the end.")
    answers = Answers(_timezone())
    _google(first, answers)
    _slack(first, answers)
    if not answers.sinks:
        print("\nNo sheet and no channel: interviews go to data/interviews.xlsx, and messages to the console.")
        answers.sinks = {
            "workbook": {"type": "workbook", "path": "data/interviews.xlsx"},
            "console": {"type": "console"},
        }
    _hireflix(first, answers)
    written = first.write(answers)
    print(f"\nWritten: {', '.join(path.name for path in written)}")
    _print_next(first, answers)


def _timezone() -> str:
    while True:
        name = str(typer.prompt("\nTime zone of dates", default=_system_timezone())).strip()
        try:
            return known_timezone(name)
        except ValueError as error:
            print(error)


def _system_timezone() -> str:
    """Returns the time zone of this machine as an IANA name, or UTC when it is unknown."""
    name = os.environ.get("TZ") or os.path.realpath("/etc/localtime").partition("zoneinfo/")[2]
    try:
        return known_timezone(name)
    except ValueError:
        return "UTC"


def _google(first: FirstConfig, answers: Answers) -> None:
    print("\nGoogle Sheet (docs/google-sheets.md shows how to create the credentials)")
    while spreadsheet := _ask("Address of the spreadsheet"):
        settings = {"type": "google_sheets", "spreadsheet": spreadsheet}
        if not _is_valid(first, answers, SHEET, settings):
            continue
        key = _ask("File with the key of a service account (Enter: the credentials of this machine)")
        settings |= {"credentials_file": key} if key else {"auth": "default"}
        if _accept(first, answers, SHEET, settings, {}):
            return


def _is_valid(first: FirstConfig, answers: Answers, name: str, settings: dict[str, str]) -> bool:
    """Prints what is wrong with the last setting of a sink, before the next question. Returns whether it is valid."""
    try:
        first.load(Answers(answers.timezone, {name: settings}))
    except ConfigError as error:
        wrong = [problem for problem in error.problems if problem.place == f"sinks.{name}.{list(settings)[-1]}"]
        for problem in wrong:
            print("; ".join(filter(None, (problem.message, problem.hint))))
        return not wrong
    return True


def _slack(first: FirstConfig, answers: Answers) -> None:
    print("\nSlack channel (docs/slack.md shows how to create the app and to invite it)")
    while channel := _ask("Id of the channel, such as C0123456789"):
        settings = {"type": "slack", "channel": channel}
        if not _is_valid(first, answers, CHANNEL, settings):
            continue
        token = _ask_secret("Bot token (xoxb-…)")
        secrets = {SLACK_TOKEN: token} if token else {}
        if _accept(first, answers, CHANNEL, settings, secrets):
            return


def _hireflix(first: FirstConfig, answers: Answers) -> None:
    print("\nHireflix (docs/hireflix.md shows where the keys are)")
    if secret := _ask_secret("Key of the webhook (Profile, Webhooks, Reveal key)"):
        answers.secrets[WEBHOOK_SECRETS] = json.dumps([secret])
    while key := _ask_secret("API key, to read existing interviews (My account, API keys)"):
        tried = Answers(answers.timezone, answers.sinks, {**answers.secrets, API_KEY: key})
        if _is_key_accepted(first, tried):
            answers.secrets[API_KEY] = key
            _read_webhook_key(first, answers)
            return
        if not _again():
            answers.secrets[API_KEY] = key
            _keep(answers, "the API key of Hireflix")
            return


def _read_webhook_key(first: FirstConfig, answers: Answers) -> None:
    """Reads the key of the webhook by the API, if the user gave none and the API has an operation for it."""
    if WEBHOOK_SECRETS in answers.secrets:
        return

    async def secret() -> str:
        async with open_api_for_user(first.load(answers)) as api:
            return await (await WebhookApi.discover(api)).secret()

    try:
        answers.secrets[WEBHOOK_SECRETS] = json.dumps([asyncio.run(secret())])
        print("ok        the key of the webhook was read from Hireflix")
    except HireflixError as error:
        print(f"warning   {error}; copy the key by hand")


def _is_key_accepted(first: FirstConfig, answers: Answers) -> bool:
    """Prints what Hireflix answers to the API key. Returns whether it accepts the key."""

    async def positions() -> int:
        async with open_api_for_user(first.load(answers)) as api:
            return len(await api.positions())

    try:
        print(f"ok        Hireflix accepts the key: {asyncio.run(positions())} positions")
    except ConnectorError as error:
        print("\n".join(lines_of(error)))
        return False
    return True


def _accept(first: FirstConfig, answers: Answers, name: str, settings: dict[str, str], secrets: dict[str, str]) -> bool:
    """Tests a sink at its destination, and prints the findings. Returns whether the sink is part of the answers now."""
    tried = Answers(answers.timezone, {**answers.sinks, name: settings}, {**answers.secrets, **secrets})
    usable = _is_usable(first, tried, name)
    if not usable and _again():
        return False
    answers.sinks, answers.secrets = tried.sinks, tried.secrets
    if not usable:
        _keep(answers, f"the sink {name}")
    return True


def _keep(answers: Answers, what: str) -> None:
    """Warns that an answer is kept although its test failed."""
    print(f"warning   {what} is kept although its test failed")
    answers.failing.append(what)


def _is_usable(first: FirstConfig, answers: Answers, name: str) -> bool:
    try:
        entry = first.load(answers).sinks[name]
        sink = entry.cls(entry.name, entry.config)
    except ConfigError as error:
        print("\n".join(lines_of(error)))
        return False
    [findings] = asyncio.run(online_findings([sink]))
    return print_findings(name, findings)


def _again() -> bool:
    return typer.confirm("Answer again?", default=True)


def _ask(question: str) -> str:
    return str(typer.prompt(question, default="", show_default=False)).strip()


def _ask_secret(question: str) -> str:
    return str(typer.prompt(f"{question}, not shown", default="", show_default=False, hide_input=True)).strip()


def _by_command(answers: Answers, path: str, option: str) -> str:
    """Returns the command that creates the webhook, if there is an API key."""
    if API_KEY not in answers.secrets:
        return ""
    return f", or run\n  connector hireflix webhook --create https://YOUR-ADDRESS{path}{option}"


def _print_next(first: FirstConfig, answers: Answers) -> None:
    path = HireflixSettings().webhook_path
    option = "" if first.path == Path("config.toml").absolute() else f" --config {first.path}"
    if WEBHOOK_SECRETS not in answers.secrets:
        print(f'Missing: {WEBHOOK_SECRETS}. The service starts when .env has the line {WEBHOOK_SECRETS}=["…"].')
    if answers.failing:
        print(
            f"The test failed for {', '.join(answers.failing)}: remove the causes, which are named above, before you "
            "start the service; `connector check --online` tests again."
        )
    print(
        "Next:\n"
        f"  connector check --online{option}\n"
        f"  connector serve{option}\n"
        f"In Hireflix set the address of the webhook to https://YOUR-ADDRESS{path}"
        f"{_by_command(answers, path, option)}"
    )
