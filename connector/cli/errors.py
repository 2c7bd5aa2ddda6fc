"""Exit codes and error messages, without tracebacks."""

from __future__ import annotations

import re

from connector.errors import ConfigError, ConnectorError, UsageError

FAILED = 1
"""Exit code when the command failed, or a sink is not in sync."""
BAD_USAGE = 2
"""Exit code for a usage or configuration error."""


def exit_code_of(error: ConnectorError) -> int:
    """Returns the exit code of a command that raised this error."""
    return BAD_USAGE if isinstance(error, ConfigError | UsageError) else FAILED


def reworded(message: str) -> str:
    """Returns the message about an option without the phrases of pydantic."""
    message = message.removeprefix("Value error, ").partition(", unable to parse")[0]
    return re.sub("^Input should be", "must be", message)


def lines_of(error: ConnectorError) -> list[str]:
    """Returns the lines to print for an error: one line, or a list of problems with their hints."""
    if not isinstance(error, ConfigError):
        return [f"error: {error}"]
    lines = ["error: the configuration cannot be used:"]
    for problem in error.problems:
        lines.append(f"  {problem.place}: {problem.message}")
        if problem.hint:
            lines.append(f"    → {problem.hint}")
    return lines
