"""All commands under one name. Importing this module imports typer and nothing heavy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer

from connector import __version__
from connector.cli import act, check, demo, explain, look, migrate, replay, send, serve, store, verify
from connector.cli.errors import Commands

app = typer.Typer(
    cls=Commands, add_completion=False, no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False
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
    """Receives Hireflix webhooks, keeps a hiring sheet right and Slack calm.

    Exit codes: 0 done, 1 something failed, 2 bad usage or configuration.
    """


COMMANDS: tuple[Callable[..., None], ...] = (
    serve.serve,
    check.check,
    demo.demo,
    send.send,
    explain.explain,
    look.status,
    look.events,
    look.interviews,
    look.deliveries,
    look.attempts,
    replay.replay,
    act.pause,
    act.resume,
    verify.verify,
    migrate.migrate,
)
"""In the order of the help text: run and try, look, act."""
STORE_COMMANDS: tuple[Callable[..., None], ...] = (store.copy,)
"""`connector store …`."""

_store = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Work on the store as a whole.")
for _command in COMMANDS:
    app.command()(_command)
for _command in STORE_COMMANDS:
    _store.command()(_command)
app.add_typer(_store, name="store")
