"""Commands that stop a sink and let it go on. A running service notices within two seconds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from connector.cli import options as o
from connector.errors import UsageError

if TYPE_CHECKING:
    from connector.config import Config, SinkEntry

SinkArgument = Annotated[str, typer.Argument(metavar="SINK", help="Name of the sink in the configuration.")]

FLAGS = {
    "refill": "The destination was emptied on purpose: write everything again.",
    "accept": "What people removed there stays removed.",
}


def pause(sink: SinkArgument, config: o.ConfigOption = None) -> None:
    """Stop a sink; it keeps queueing until it is resumed.

    The call under way ends first.
    """
    from connector.cli.acting import pause_sink
    from connector.cli.opened import changing
    from connector.config import load

    settings = load(config)
    _require_sink(settings, sink)
    with changing(settings) as store:
        store.change(lambda connection: pause_sink(connection, settings.sinks[sink]))
    print(f"{sink} is paused and keeps queueing; connector resume {sink} lets it go on")


def resume(
    sink: SinkArgument,
    config: o.ConfigOption = None,
    refill: Annotated[bool, typer.Option("--refill", help=FLAGS["refill"])] = False,
    accept: Annotated[bool, typer.Option("--accept", help=FLAGS["accept"])] = False,
) -> None:
    """Let a paused sink go on at once.

    It does not matter whether a person paused it or it paused itself. A sheet that paused because many rows vanished
    asks for a word: --refill or --accept. A sink that knows no such word refuses it.
    """
    from connector.cli.acting import resume_sink
    from connector.cli.opened import changing
    from connector.cli.terminal import counted
    from connector.config import load

    word = _word(refill=refill, accept=accept)
    settings = load(config)
    _require_sink(settings, sink)
    if word is not None:
        _require_word(settings.sinks[sink], word)
    with changing(settings) as store:
        waiting = store.change(lambda connection: resume_sink(connection, settings.sinks[sink], word))
    print(f"{sink} goes on; waiting for it: {counted(waiting, 'delivery', 'deliveries')}")


def _word(*, refill: bool, accept: bool) -> str | None:
    if refill and accept:
        raise UsageError("--refill and --accept are opposites; give one of them")
    return "refill" if refill else "accept" if accept else None


def _require_word(entry: SinkEntry, word: str) -> None:
    if word in entry.cls.resume_words:
        return
    known = ", ".join(f"--{known}" for known in sorted(entry.cls.resume_words))
    hint = f"it knows {known}" if known else f"connector resume {entry.name} lets it go on"
    raise UsageError(f"{entry.name} ({entry.type}) does not know --{word}; {hint}")


def _require_sink(settings: Config, sink: str) -> None:
    from connector.cli.opened import require_known

    require_known(sink, settings.sinks)
