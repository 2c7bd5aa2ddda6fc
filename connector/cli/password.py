"""`connector password`."""

from __future__ import annotations

from typing import Annotated

import typer

from connector.cli import options as o
from connector.cli.output import is_interactive, print_hint
from connector.config import load
from connector.errors import UsageError
from connector.operations.password import hash_of, reset_password
from connector.role import Secrets

HashOption = Annotated[
    bool,
    typer.Option("--hash", help="Ask for a password, and print its hash for [dashboard] password; change nothing."),
]


def password(config: o.ConfigOption = None, *, as_hash: HashOption = False) -> None:
    """Make a new password for the dashboard.

    Prints the password and stores only its hash, beside the SQLite store. It takes effect at once, and every user has
    to sign in again. A password in the configuration is not changed.
    """
    if as_hash:
        if not is_interactive():
            raise UsageError("--hash asks for the password: run it in a terminal")
        print(hash_of(typer.prompt("Password", hide_input=True, confirmation_prompt=True)))
        return
    made = reset_password(load(config, needs=Secrets.NONE))
    print(made)
    print_hint("this is shown once; every user of the dashboard has to sign in again")
