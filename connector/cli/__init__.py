"""The command line: one module per group of commands, each importing what it needs when it runs."""

from __future__ import annotations


def main() -> None:
    """Runs `connector …` and ends the process: 0 done, 1 something failed, 2 bad usage or configuration."""
    from connector.cli.commands import app

    app(prog_name="connector")
