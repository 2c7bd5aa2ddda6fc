"""`connector config`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import groupby
from typing import Annotated

import typer
from rich.text import Text

from connector.cli import options as o
from connector.cli.output import console, safe, show_json
from connector.config import load
from connector.operations.configuration import DEFAULT, EffectiveSetting, effective_settings
from connector.role import Secrets

ChangedOption = Annotated[bool, typer.Option("--changed", help="Leave out settings that have their default.")]


def config(settings: o.ConfigOption = None, changed: ChangedOption = False, as_json: o.JsonOption = False) -> None:
    """Show every setting, and where it comes from.

    A secret is shown as ********. The origin is the config file, the variable that sets the value, or the default.
    Works without secrets; connector check reports missing ones.
    """
    found = [
        one for one in effective_settings(load(settings, needs=Secrets.NONE)) if not (changed and one.origin == DEFAULT)
    ]
    if as_json:
        show_json([{"setting": one.place, "value": one.value, "origin": one.origin} for one in found])
    else:
        _print(found)


def _print(found: Sequence[EffectiveSetting]) -> None:
    """Prints the settings like a config file, grouped by table, with the origin behind each."""
    target = console()
    for table, group in groupby(found, key=lambda one: one.place.rpartition(".")[0]):
        target.print(f"\n[{table}]" if table else "", style="bold", end="\n" if table else "")
        for one in group:
            value = "none" if one.value is None else json.dumps(one.value, ensure_ascii=False)
            line = f"{one.place.rpartition('.')[2]} = {value}"
            target.print(Text.assemble(safe(line), ("  # " + safe(one.origin), "dim")))
