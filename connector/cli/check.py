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
    print("ok       ", "the embedded default" if settings.path is None else settings.path)
    servable = _tell_place(settings)
    good = _tell_sinks(settings, look=not online)
    seen = _positions(settings, online=online) if servable else []
    _tell_warnings(settings, seen or [])
    if not servable:
        raise typer.Exit(BAD_USAGE)
    if online:
        good = _ask(settings)
    if not good or seen is None:
        raise typer.Exit(FAILED)


def _tell_place(settings: Config) -> bool:
    """Says where the store lies; whether this installation can use one there."""
    from connector.cli.opened import shown_place
    from connector.cli.terminal import safe
    from connector.errors import UsageError

    try:
        place = shown_place(settings)
    except UsageError as error:
        print("problem  ", error)
        return False
    print("ok       ", safe(f"store: {place}"))
    return True


def _positions(settings: Config, *, online: bool) -> Sequence[tuple[str, str]] | None:
    """The positions that the store has seen; none while there is no store. `None`, and told, when it cannot be read.

    A store on a server is one of those that only `--online` asks.
    """
    from connector.cli.opened import has_store, looking
    from connector.errors import StoreError
    from connector.store.views import positions

    on_server = settings.store.file is None
    if on_server and not online:
        return []
    try:
        if not on_server and not has_store(settings):
            return []
        with looking(settings) as connection:
            return positions(connection)
    except StoreError as error:
        if not on_server:
            raise
        print("problem   store:", error)
        return None


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


def _tell_warnings(settings: Config, seen: Sequence[tuple[str, str]]) -> None:
    from connector.cli.terminal import safe
    from connector.config import position_warnings

    for warning in (*settings.warnings, *position_warnings(settings, seen)):
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
