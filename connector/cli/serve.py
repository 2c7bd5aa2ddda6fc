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
    from connector import app, logs
    from connector.cli import banner
    from connector.config import ensure_secret, load

    loaded = load(config)
    _require_role(loaded, role)
    settings = ensure_secret(loaded)
    logs.set_up(settings.logs.format, settings.logs.level)
    banner.warn(settings)
    is_new = not loaded.hireflix.webhook_secrets

    async def tell(base: str) -> None:
        print(banner.banner(settings, base, named=config, new_secret=is_new), flush=True)

    app.run(lambda: app.serve(settings, banner.secrets_of(settings), tell))


def _require_role(settings: Config, role: Role) -> None:
    if role is not Role.ALL and settings.store.file is not None:
        raise UsageError(
            f"--role {role} needs a store that several processes share; a SQLite store belongs to one process: "
            "leave --role away"
        )
