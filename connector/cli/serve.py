"""Runs the service and says where everything is."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from connector.cli import options as o
from connector.errors import UsageError

if TYPE_CHECKING:
    from connector.config import Config


class Role(StrEnum):
    """What a process does."""

    ALL = "all"
    RECEIVER = "receiver"
    WORKER = "worker"


RoleOption = Annotated[Role, typer.Option("--role", help="receiver and worker share a store with other processes.")]


def serve(config: o.ConfigOption = None, role: RoleOption = Role.ALL) -> None:
    """Run the service: receive, store, deliver. Ctrl-C or SIGTERM stops it after the calls under way."""
    from connector.config import ensure_secret, load

    loaded = load(config)
    _require_servable(loaded, role)
    settings = ensure_secret(loaded)
    _run(settings, new_secret=not loaded.hireflix.webhook_secrets)


def _require_servable(settings: Config, role: Role) -> None:
    from connector.cli.opened import sqlite_file

    sqlite_file(settings)
    if role is not Role.ALL:
        raise UsageError(
            f"--role {role} needs a store that several processes share; a SQLite store belongs to one process: "
            "leave --role away"
        )


def _run(settings: Config, *, new_secret: bool) -> None:
    from connector import app, logs
    from connector.cli.banner import banner, secrets_of, warn

    logs.set_up(settings.logs.format, settings.logs.level)
    warn(settings)

    async def tell(base: str) -> None:
        print(banner(settings, base, new_secret=new_secret), flush=True)
        app.spare_the_collector()

    app.run(lambda: app.serve(settings, secrets_of(settings), tell))
