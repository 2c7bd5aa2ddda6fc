"""The command line. The module of a command is imported when the command is called."""

from __future__ import annotations

import errno
import os
import re
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

from connector import __version__
from connector.errors import ConfigError, ConnectorError, UsageError

FAILED = 1
"""Exit code when the command failed, or a sink is not in sync."""
BAD_USAGE = 2
"""Exit code for a usage or configuration error."""
OTHER_USER = "run the command as the user of the service"
FULL = "make room on that disk"
MACHINE: Mapping[int, str] = {
    errno.EACCES: OTHER_USER,
    errno.EPERM: OTHER_USER,
    errno.EROFS: "the disk is mounted read-only",
    errno.ENOSPC: FULL,
    errno.EDQUOT: FULL,
    errno.ENAMETOOLONG: "use a shorter name",
    errno.EIO: "the disk or the terminal failed",
}
"""Errors of files that the machine causes, and what to do. No module has to expect them at each access."""


@dataclass(frozen=True, slots=True)
class Command:
    """A command. `module` contains a function or a group with the name of the command; `help` is its first sentence."""

    module: str
    help: str


COMMANDS: Mapping[str, Command] = {
    "serve": Command("connector.cli.serve", "Run the service: receive, store, deliver."),
    "init": Command("connector.cli.init", "Ask for the first configuration, test it, and write it."),
    "check": Command("connector.cli.check", "Check the configuration, the store and every sink."),
    "config": Command("connector.cli.config", "Show every setting, and where it comes from."),
    "demo": Command(
        "connector.cli.demo",
        "Run a service with emulated accounts, and send it webhooks.",
    ),
    "send": Command("connector.cli.send", "Sign a payload as Hireflix does and post it."),
    "explain": Command("connector.cli.explain", "Show what an event changes and where it goes; send nothing."),
    "status": Command("connector.cli.status", "Show the state of the service and of every sink."),
    "events": Command("connector.cli.lists", "List events, newest first."),
    "event": Command("connector.cli.lists", "Show one event and its body."),
    "interviews": Command("connector.cli.lists", "List interviews in their current state, last changed first."),
    "deliveries": Command("connector.cli.lists", "List deliveries, newest first."),
    "attempts": Command("connector.cli.lists", "List attempts, newest first."),
    "audit": Command("connector.cli.lists", "List what operators changed, newest first."),
    "replay": Command("connector.cli.replay", "Send dead letters or earlier deliveries again."),
    "dismiss": Command("connector.cli.replay", "Drop dead letters that are not to be delivered."),
    "snooze": Command("connector.cli.pause", "Leave an interview out of the reminders for some days."),
    "pause": Command("connector.cli.pause", "Pause a sink; its deliveries stay queued until it is resumed."),
    "resume": Command("connector.cli.pause", "Resume a paused sink at once."),
    "verify": Command("connector.cli.verify", "Compare sheets with the store, and repair them on request."),
    "erase": Command("connector.cli.erase", "Remove a person from the store and from the destinations."),
    "backfill": Command("connector.cli.source", "Read existing interviews from Hireflix, so that sheets show them."),
    "reconcile": Command("connector.cli.source", "Compare the store with Hireflix, and add missed changes."),
    "hireflix": Command(
        "connector.cli.hireflix", "Use the API of Hireflix: the webhook, why nothing arrives, and decisions."
    ),
    "password": Command("connector.cli.password", "Make a new password for the dashboard."),
    "migrate": Command("connector.cli.store", "Create or update the tables of a PostgreSQL store."),
    "store": Command("connector.cli.store", "Back up, restore or copy the store."),
}
"""All commands in the order of the help text. The help is repeated here, so that `connector --help` imports none."""


class LazyGroup(TyperGroup):
    """Imports a command when it is called, and converts a `ConnectorError` into a message and an exit code."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if any("\ud800" <= char <= "\udfff" for arg in args for char in arg):  # neither JSON nor a store can hold it
            ctx.fail("An argument is not UTF-8 text.")
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - the library's signature
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name in COMMANDS:
            return load_command(cmd_name)
        close = get_close_matches(cmd_name, COMMANDS, n=1)
        if close and not ctx.resilient_parsing:
            ctx.fail(f"No such command {cmd_name!r}. Did you mean {close[0]!r}?")
        return None

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002 - the library's signature
        with formatter.section("Commands"):
            formatter.write_dl([(name, command.help) for name, command in COMMANDS.items()])

    def invoke(self, ctx: Any) -> Any:
        try:
            return _flushed(super().invoke, ctx)
        except typer.BadParameter as error:
            error.message = reworded(error.message)
            raise
        except ConnectorError as error:
            for line in lines_of(error):
                print(line, file=sys.stderr)
            raise typer.Exit(exit_code_of(error)) from None
        except OSError as error:
            if error.errno not in MACHINE:
                raise
            print(f"error: {machine_problem(error)}", file=sys.stderr)
            raise typer.Exit(FAILED) from None


def _flushed(work: Callable[[Any], Any], ctx: Any) -> Any:
    """Runs a command and writes what it printed. Python would ignore a failure of that write at its exit."""
    try:
        return work(ctx)
    finally:
        try:
            sys.stdout.flush()
        except OSError:
            with suppress(OSError):  # standard output of a test has no file
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the rest cannot be written either
            raise


def machine_problem(error: OSError) -> str:
    """Returns what failed, at which file, and what to do, for an error with a number in `MACHINE`."""
    where = "" if error.filename is None else f"{error.filename}: "
    return f"{where}{os.strerror(error.errno or 0).lower()}; {MACHINE[error.errno or 0]}"


def load_command(name: str) -> Any:
    """Imports a command, one of `COMMANDS`."""
    found = getattr(import_module(COMMANDS[name].module), name)
    if isinstance(found, typer.Typer):
        return get_command(found)
    single = typer.Typer(add_completion=False, rich_markup_mode=None)
    single.command(name)(found)
    return get_command(single)


app = typer.Typer(
    cls=LazyGroup, add_completion=False, no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False
)


def _show_version(*, wanted: bool) -> None:
    if wanted:
        print(f"hireflix-connector {__version__}")
        raise typer.Exit


@app.callback()
def connector(
    version: Annotated[
        bool,
        typer.Option("--version", callback=lambda wanted: _show_version(wanted=wanted), is_eager=True,
                     help="Print the version and exit."),
    ] = False,
) -> None:  # fmt: skip
    """Receives Hireflix webhooks and keeps a Google Sheet and Slack up to date.

    Exit codes: 0 done, 1 failed or not in sync, 2 usage or configuration error.
    """


def main() -> None:
    """Runs `connector …` and ends the process with 0 (done), 1 (failed) or 2 (usage or configuration error)."""
    app(prog_name="connector")


def exit_code_of(error: ConnectorError) -> int:
    """Returns the exit code of a command that raised this error."""
    return BAD_USAGE if isinstance(error, ConfigError | UsageError) else FAILED


def reworded(message: str) -> str:
    """Returns the message about an option without the phrases of pydantic."""
    message = message.removeprefix("Value error, ").partition(", unable to parse")[0]
    return re.sub("^Input should be", "must be", message)


def lines_of(error: ConnectorError) -> list[str]:
    """Returns the lines to print for an error: one line, or a list of problems with their hints."""
    if not isinstance(error, ConfigError):
        return [f"error: {error}"]
    lines = ["error: the configuration cannot be used:"]
    for problem in error.problems:
        lines.append(f"  {problem.place}: {problem.message}")
        if problem.hint:
            lines.append(f"    → {problem.hint}")
    return lines
