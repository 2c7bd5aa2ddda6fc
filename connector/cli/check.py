"""Says whether the configuration can be used, and with `--online` whether every destination can."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from connector.cli import options as o
from connector.cli.errors import BAD_USAGE, FAILED

if TYPE_CHECKING:
    from connector.config import Config
    from connector.sink import Finding

OnlineOption = Annotated[bool, typer.Option("--online", help="Also ask every destination; nothing is written there.")]


def check(config: o.ConfigOption = None, online: OnlineOption = False) -> None:
    """Check the configuration; tell all problems at once.

    Warns of what is legal but odd, and looks at the files that sinks need. With --online every destination is asked
    instead. A sink with a problem exits with 1.
    """
    from connector.config import load

    settings = load(config)
    servable = _tell_file(settings)
    good = _tell_sinks(settings, look=not online)
    _tell_warnings(settings)
    if not servable:
        raise typer.Exit(BAD_USAGE)
    if online:
        good = _ask(settings)
    if not good:
        raise typer.Exit(FAILED)


def _tell_file(settings: Config) -> bool:
    """Says which configuration this is; whether its store can be served."""
    from connector.cli.opened import sqlite_file
    from connector.errors import UsageError

    try:
        sqlite_file(settings)
    except UsageError as error:
        print("problem  ", error)
        return False
    print("ok       ", "the embedded default" if settings.path is None else settings.path)
    return True


def _tell_sinks(settings: Config, *, look: bool) -> bool:
    """Says which sinks there are, and with `look` what is wrong with them; whether there was no problem."""
    from connector.cli.banner import place_of
    from connector.cli.online import looked_at
    from connector.cli.terminal import safe

    good = True
    for entry in settings.sinks.values():
        findings = looked_at(entry.cls(entry.name, entry.config)) if look else ()
        if all(finding.level == "ok" for finding in findings):
            print("ok       ", safe(f"sinks.{entry.name}: {entry.type}, {place_of(entry)}"))
        good &= _tell(f"sinks.{entry.name}", findings)
    return good


def _tell(name: str, findings: Sequence[Finding]) -> bool:
    """Prints findings; whether there was no problem."""
    from connector.cli.terminal import safe

    for finding in findings:
        print(f"{finding.level:<9}", safe(f"{name}: {finding.message}"))
        if finding.fix:
            print("          →", safe(finding.fix))
    return all(finding.level != "problem" for finding in findings)


def _tell_warnings(settings: Config) -> None:
    from connector.cli.opened import has_store, looking
    from connector.cli.terminal import safe
    from connector.config import position_warnings

    warnings = list(settings.warnings)
    if has_store(settings):
        from connector.store.views import positions

        with looking(settings) as connection:
            warnings += position_warnings(settings, positions(connection))
    for warning in warnings:
        print("warning  ", safe(f"{warning.place}: {warning.message}"))
        if warning.hint:
            print("          →", safe(warning.hint))


def _ask(settings: Config) -> bool:
    """Asks every destination; whether there was no problem."""
    import asyncio

    from connector.cli.online import findings_of

    good = True
    for name, findings in asyncio.run(findings_of(settings)):
        good &= _tell(name, findings)
    return good
