"""Says whether the configuration can be used, and with `--online` whether every destination can."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from connector.cli import options as o

if TYPE_CHECKING:
    from connector.config import Config

OnlineOption = Annotated[bool, typer.Option("--online", help="Also ask every destination; nothing is written there.")]


def check(config: o.ConfigOption = None, online: OnlineOption = False) -> None:
    """Check the configuration; tell all problems at once.

    Warns of what is legal but odd. With --online every destination is asked too, and a problem there exits with 1.
    """
    from connector.config import load

    settings = load(config)
    print("ok       ", "the embedded default" if settings.path is None else settings.path)
    _tell_sinks(settings)
    _tell_warnings(settings)
    if online and not _ask(settings):
        raise typer.Exit(1)


def _tell_sinks(settings: Config) -> None:
    from connector.cli.banner import place_of
    from connector.cli.terminal import safe

    for entry in settings.sinks.values():
        print("ok       ", safe(f"sinks.{entry.name}: {entry.type}, {place_of(entry)}"))


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
    from connector.cli.terminal import safe

    good = True
    for name, findings in asyncio.run(findings_of(settings)):
        for finding in findings:
            print(f"{finding.level:<9}", safe(f"{name}: {finding.message}"))
            if finding.fix:
                print("          →", safe(finding.fix))
            good &= finding.level != "problem"
    return good
