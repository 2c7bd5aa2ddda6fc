"""What a service prints when it starts: where it listens, where its files are, and a command to try."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import structlog

from connector import __version__
from connector.config import Config, SinkEntry
from connector.operations.send import receiver_url
from connector.operations.store_access import store_address
from connector.role import Role
from connector.secretsfile import WEBHOOK_SECRET

log = structlog.get_logger("connector")


def warn(settings: Config) -> None:
    """Logs the warnings of the configuration; prints a dangerous one on a terminal too."""
    for warning in settings.warnings:
        log.warning("configuration warning", place=warning.place, problem=warning.message, hint=warning.hint)
    if settings.hireflix.allow_unsigned and sys.stderr.isatty() and settings.logs.format != "json":
        bar = "!" * 78
        text = "hireflix.allow_unsigned is on: anyone who knows the address can send false events."
        print(
            f"{bar}\n{text}\nSet webhook_secrets and turn it off before real candidates use the service.\n{bar}",
            file=sys.stderr,
        )


def secrets_of(settings: Config) -> list[str]:
    """The webhook secrets in plain text, to verify and sign with."""
    return [secret.get_secret_value() for secret in settings.hireflix.webhook_secrets]


def banner(settings: Config, base: str, role: Role = Role.ALL, *, new_secret: bool = False) -> str:
    """The lines printed at the start. `base` is the address that the service listens on, `""` without one."""
    source = "the embedded default, no config file" if settings.path is None else str(settings.path)
    receiver = base + settings.hireflix.webhook_path
    lines = [f"hireflix-connector {__version__} runs on {source}" + ("" if role is Role.ALL else f" as {role}")]
    if role.receives:
        lines += [f"  Receiver  {receiver}", f"  Secret    {_secret(settings, new_secret=new_secret)}"]
    if base:
        lines.append(f"  Health    {base}/health/ready and {base}/metrics")
    lines += [f"  Store     {store_address(settings)}", *_sinks(settings)]
    if role.receives:
        lines.append(f"  Try it    {try_it(settings, receiver)}")
    return "\n".join(lines)


def _secret(settings: Config, *, new_secret: bool) -> str:
    kept = settings.data_folder / WEBHOOK_SECRET
    if not settings.hireflix.webhook_secrets:
        return "none: unsigned webhooks are accepted"
    if new_secret:
        return f"{secrets_of(settings)[0]} (created now, shown once, stored in {kept})"
    if settings.embedded and kept.exists():
        return f"stored in {kept}"
    return f"from the configuration ({len(settings.hireflix.webhook_secrets)})"


def _sinks(settings: Config) -> Iterator[str]:
    title = "Sinks"
    for entry in settings.sinks.values():
        yield f"  {title:<9} {entry.name} ({entry.type}): {place_of(entry)}"
        title = ""


def place_of(entry: SinkEntry) -> str:
    """Where a sink writes: the path of a file, or else the name of the destination."""
    path = getattr(entry.config, "path", None)
    return str(path) if isinstance(path, Path) else entry.cls(entry.name, entry.config).destination


def try_it(settings: Config, receiver: str) -> str:
    """A command to paste that sends a sample to this service."""
    words = ["send", "--sample", "interview.finish"]
    if settings.server.port == 0 or receiver_url(settings) != receiver:
        words += ["--url", receiver]
    return to_paste(settings, *words)


def to_paste(settings: Config, *words: str) -> str:
    """A command that works in any folder: it names this configuration and the path of the program."""
    if settings.path is None:
        return f"cd {shlex.quote(str(settings.folder))} && {shlex.join([*executable(), *words])}"
    return shlex.join([*executable(), *words, "--config", str(settings.path)])


def executable() -> list[str]:
    """How to call this program from any folder: by its name if the shell finds it, else by its path."""
    called = Path(sys.argv[0])
    if called.name != "connector":
        return [sys.executable, "-m", "connector.cli"]
    found = shutil.which("connector")
    if found is not None and Path(found).resolve() == called.resolve():
        return ["connector"]
    return [str(called.absolute())]
