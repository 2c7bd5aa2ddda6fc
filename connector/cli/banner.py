"""The startup message of a service: its addresses, its files, and a command to try."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import structlog

from connector import __version__
from connector.config import Config, SinkEntry
from connector.operations.password import can_sign_in
from connector.operations.send import receiver_url
from connector.operations.store_access import store_address
from connector.role import Role
from connector.secretsfile import WEBHOOK_SECRET

log = structlog.get_logger("connector")


def warn(settings: Config) -> None:
    """Logs the warnings of the configuration. On a terminal it also prints the warning about unsigned webhooks."""
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
    """Returns the webhook secrets in plain text, to verify and sign with them."""
    return [secret.get_secret_value() for secret in settings.hireflix.webhook_secrets]


def banner(
    settings: Config, base: str, role: Role = Role.ALL, *, new_secret: bool = False, password: str | None = None
) -> str:
    """Returns the startup message. `base` is the base address of the service, `""` when it opens no port.

    `new_secret`: the webhook secret was created now. `password` is the one of the dashboard if it was created now.
    """
    source = "the embedded default, no config file" if settings.path is None else str(settings.path)
    receiver = base + settings.hireflix.webhook_path
    lines = [f"hireflix-connector {__version__} runs on {source}" + ("" if role is Role.ALL else f" as {role}")]
    if role.receives:
        lines += [f"  Receiver  {receiver}", f"  Secret    {_secret(settings, new_secret=new_secret)}"]
    if base and role.works:
        lines += _dashboard(settings, base, password)
    if base and settings.server.metrics_port is None:
        lines.append(f"  Health    {base}/health/ready and {base}/metrics")
    lines += [f"  Store     {store_address(settings)}", *_sinks(settings, role)]
    if role.receives:
        lines.append(f"  Try it    {sample_command(settings, receiver)}")
    return "\n".join(lines)


def _secret(settings: Config, *, new_secret: bool) -> str:
    file = settings.data_folder / WEBHOOK_SECRET
    if not settings.hireflix.webhook_secrets:
        return "none: unsigned webhooks are accepted"
    if new_secret and sys.stdout.isatty():
        return f"{secrets_of(settings)[0]} (created now, shown once, stored in {file})"
    if settings.embedded and file.exists():
        return f"stored in {file}"
    return f"from the configuration ({len(settings.hireflix.webhook_secrets)})"


def _dashboard(settings: Config, base: str, password: str | None) -> Iterator[str]:
    """Yields the address of the dashboard. Prints its new password on a terminal only, because more users can read a
    log.
    """
    if not settings.dashboard.enabled:
        return
    if not can_sign_in(settings):
        yield "  Dashboard off: set CONNECTOR_DASHBOARD__PASSWORD or [dashboard] trust_header"
        return
    yield f"  Dashboard {base}/"
    command = shell_command(settings, "password")
    if password is not None and sys.stdout.isatty():
        yield f"  Password  {password} (created now, shown once; a new one: {command})"
    elif password is not None:
        yield f"  Password  created now; to get one: {command}"


def _sinks(settings: Config, role: Role) -> Iterator[str]:
    title = "Sinks"
    for entry in settings.sinks.values():
        where = f": {destination_of(entry)}" if role.works else ""  # a destination may depend on a secret
        yield f"  {title:<9} {entry.name} ({entry.type}){where}"
        title = ""


def destination_of(entry: SinkEntry) -> str:
    """Returns the destination of a sink: the path of a file, or the name of the destination."""
    path = getattr(entry.config, "path", None)
    return str(path) if isinstance(path, Path) else entry.cls(entry.name, entry.config).destination


def sample_command(settings: Config, receiver: str) -> str:
    """Returns a shell command that sends a sample to this service. It names the address when variables of this process
    set a part of it, because another terminal does not have them.
    """
    arguments = ["send", "--sample", "interview.finish"]
    changed = {origin for keys, origin in settings.origins.items() if keys[0] == "server"} & set(os.environ)
    if changed or settings.server.port == 0 or receiver_url(settings) != receiver:
        arguments += ["--url", receiver]
    return shell_command(settings, *arguments)


def shell_command(settings: Config, *arguments: str) -> str:
    """Returns a `connector` command that works in any folder, with this configuration."""
    if settings.path is None:
        return f"cd {shlex.quote(str(settings.folder))} && {shlex.join([*executable(), *arguments])}"
    return shlex.join([*executable(), *arguments, "--config", str(settings.path)])


def executable() -> list[str]:
    """Returns the arguments that start this program: its name if the shell finds it, else its path."""
    called = Path(sys.argv[0])
    if called.name != "connector":
        return [sys.executable, "-m", "connector.cli"]
    found = shutil.which("connector")
    if found is not None and Path(found).resolve() == called.resolve():
        return ["connector"]
    return [str(called.absolute())]
