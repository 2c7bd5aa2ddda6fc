"""Exit codes, and errors as users see them: what is wrong and what to do, without a traceback."""

from __future__ import annotations

import re

from connector.errors import ConfigError, ConnectorError, UsageError

FAILED = 1
BAD_USAGE = 2


def exit_code_of(error: ConnectorError) -> int:
    """The exit code of a command that raised this error."""
    return BAD_USAGE if isinstance(error, ConfigError | UsageError) else FAILED


def reworded(message: str) -> str:
    """What is wrong with an option, without the phrases of the library that checked it."""
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
