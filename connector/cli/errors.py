"""Errors as people see them: what is wrong and what to do, on standard error, without a traceback."""

from __future__ import annotations

import re
import sys
from typing import Any

import typer
from typer.core import TyperGroup

from connector.errors import ConfigError, ConnectorError, UsageError

FAILED = 1
BAD_USAGE = 2


class Commands(TyperGroup):
    """Runs a command and turns errors of ours into words and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except typer.BadParameter as error:
            error.message = reworded(error.message)
            raise
        except ConnectorError as error:
            for line in lines_of(error):
                print(line, file=sys.stderr)
            bad_usage = isinstance(error, ConfigError | UsageError)
            raise typer.Exit(BAD_USAGE if bad_usage else FAILED) from None


def reworded(message: str) -> str:
    """What is wrong with an option, without the words of the library that checked it."""
    message = message.removeprefix("Value error, ").partition(", unable to parse")[0]
    return re.sub("^Input should be", "must be", message)


def lines_of(error: ConnectorError) -> list[str]:
    """The error for a terminal: one line, or a list of problems with their hints."""
    if not isinstance(error, ConfigError):
        return [f"error: {error}"]
    lines = ["error: the configuration cannot be used:"]
    for problem in error.problems:
        lines.append(f"  {problem.place}: {problem.message}")
        if problem.hint:
            lines.append(f"    → {problem.hint}")
    return lines
