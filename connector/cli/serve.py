"""`connector serve`."""

from __future__ import annotations

import asyncio
import sys
from typing import Annotated

import typer

from connector import app, logging
from connector.cli import options as o
from connector.cli.banner import banner, secrets_of, warn
from connector.cli.check import print_findings
from connector.config import Config, ensure_secret, load
from connector.errors import UsageError
from connector.operations.password import ensure_password
from connector.operations.sinks import offline_findings
from connector.operations.store_access import require_driver
from connector.role import Role

EXIT_SECONDS = 0.8
"""Longest time from the log line "stopped" to the end of the process."""

RoleOption = Annotated[
    Role, typer.Option("--role", help="receiver and worker need a PostgreSQL store, shared with other processes.")
]


def serve(config: o.ConfigOption = None, role: RoleOption = Role.ALL) -> None:
    """Run the service: receive, store, deliver. Ctrl-C, SIGTERM or SIGHUP stops it after the running calls."""
    loaded = load(config, needs=role.needs)
    _require_servable(loaded, role)
    settings = ensure_secret(loaded) if role.receives else loaded
    password = ensure_password(settings) if role.works else None
    _run(settings, role, new_secret=role.receives and not loaded.hireflix.webhook_secrets, password=password)


def _require_servable(settings: Config, role: Role) -> None:
    if settings.store.file is None:
        require_driver()
    elif role is not Role.ALL:
        raise UsageError(
            f"--role {role} needs a PostgreSQL store, which several processes share; with a SQLite store one process "
            "does everything: omit --role"
        )


def _run(settings: Config, role: Role, *, new_secret: bool, password: str | None) -> None:
    logging.set_up(settings.logs.format, settings.logs.level)
    warn(settings)

    async def on_started(base: str) -> None:
        print(banner(settings, base, role, new_secret=new_secret, password=password), flush=True)
        if role.works:
            await asyncio.to_thread(_print_sink_findings, settings)

    async def main() -> None:
        await app.serve(settings, secrets_of(settings), on_started, role=role)
        app.end_within(EXIT_SECONDS)

    app.run(main)


def _print_sink_findings(settings: Config) -> None:
    """Prints the problems and warnings that `connector check` finds in the running sinks."""
    for entry in settings.sinks.values():
        findings = offline_findings(entry.cls(entry.name, entry.config))
        print_findings(f"sinks.{entry.name}", [finding for finding in findings if finding.level != "ok"])
    sys.stdout.flush()
