"""`connector check`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Annotated

import typer

from connector.cli import BAD_USAGE, FAILED
from connector.cli import options as o
from connector.cli.banner import destination_of
from connector.cli.output import safe
from connector.config import Config, SinkEntry, load, position_warnings
from connector.errors import UsageError
from connector.operations.sinks import offline_findings, online_findings
from connector.operations.source import check_api
from connector.operations.store_check import StoreCheck, check_store
from connector.role import Role
from connector.sink import Finding

OnlineOption = Annotated[bool, typer.Option("--online", help="Also ask every destination; nothing is written there.")]


RoleOption = Annotated[
    Role, typer.Option("--role", help="Require only the secrets of this role; a receiver needs none of the sinks.")
]


def check(config: o.ConfigOption = None, online: OnlineOption = False, role: RoleOption = Role.ALL) -> None:
    """Check the configuration, the store and every sink.

    Prints all problems at once, and a warning for a setting that is valid but probably a mistake. Sinks that no route
    names are checked too. With --online every destination is asked instead of the files on this machine. With --role
    receiver no sink is checked. Exits with 1 when there is a problem.
    """
    settings = load(config, needs=role.needs)
    print("ok       ", "the embedded default" if settings.path is None else settings.path)
    entries = [*settings.sinks.values(), *settings.unrouted.values()] if role.works else []
    try:
        store = check_store(settings, online=online)
    except UsageError as error:  # a library is missing, so `serve` cannot start; check the sinks anyway
        print("problem  ", error)
        store, exit_code = StoreCheck(()), BAD_USAGE
    else:
        exit_code = 0 if print_findings("store", store.findings) else FAILED
    good = [_check_sink(entry, offline=not online) for entry in entries]
    _print_warnings(settings, store.positions)
    if online:
        good.append(_ask(entries, store))
        good.append(print_findings("hireflix", asyncio.run(check_api(settings)) if role.works else ()))
    raise typer.Exit(exit_code or (0 if all(good) else FAILED))


def print_findings(name: str, findings: Iterable[Finding]) -> bool:
    """Prints findings and what to do about them. Returns whether there is no problem among them."""
    good = True
    for finding in findings:
        good &= finding.level != "problem"
        print(f"{finding.level:<9}", safe(f"{name}: {finding.message}"))
        if finding.fix:
            print("          →", safe(finding.fix))
    return good


def _check_sink(entry: SinkEntry, *, offline: bool) -> bool:
    """Prints the destination of a sink, and with `offline` its findings. Returns whether there is no problem."""
    findings = offline_findings(entry.cls(entry.name, entry.config)) if offline else ()
    if all(finding.level == "ok" for finding in findings):
        print("ok       ", safe(f"sinks.{entry.name}: {entry.type}, {destination_of(entry)}"))
    return print_findings(f"sinks.{entry.name}", findings)


def _print_warnings(settings: Config, positions: Sequence[tuple[str, str]]) -> None:
    for warning in (*settings.warnings, *position_warnings(settings, positions)):
        print("warning  ", safe(f"{warning.place}: {warning.message}"))
        if warning.hint:
            print("          →", safe(warning.hint))


def _ask(entries: Sequence[SinkEntry], store: StoreCheck) -> bool:
    """Checks every destination and prints the findings. Returns whether there is no problem."""
    answers = asyncio.run(online_findings([entry.cls(entry.name, entry.config) for entry in entries]))
    good = [
        print_findings(entry.name, [*found, *store.stopped.get(entry.name, ())])
        for entry, found in zip(entries, answers, strict=True)
    ]
    return all(good)
