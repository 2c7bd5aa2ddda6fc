"""Signs and posts a payload, for trying out."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from connector.cli import options as o
from connector.errors import ConnectorError, UsageError

if TYPE_CHECKING:
    import httpx

    from connector.config import Config

TIMEOUT = 30.0
"""Seconds."""
SHOWN = 500
"""Characters of an answer that are printed."""

ADVICE = {
    401: "the service has another secret: use the --config, or the variables, that it runs with",
    404: "the service listens on another path: see hireflix.webhook_path",
    405: "the service listens on another path: see hireflix.webhook_path",
    413: "a webhook has at most 1 MiB",
    503: "the service takes no events now; try again, and see `connector status`",
}


def send(
    file: Annotated[
        str | None, typer.Argument(metavar="FILE", help="File with the body, sent byte for byte; - = standard input.")
    ] = None,
    sample: Annotated[
        str | None, typer.Option("--sample", metavar="NAME", help="A sample instead, such as interview.finish.")
    ] = None,
    url: Annotated[
        str | None, typer.Option("--url", metavar="U", help="Receiver; else the one of the configuration.")
    ] = None,
    as_is: Annotated[bool, typer.Option("--as-is", help="A sample keeps its own date; else it happens now.")] = False,
    config: o.ConfigOption = None,
) -> None:
    """Sign a payload as Hireflix does and post it.

    The receiver's address and the secret come from the configuration.
    """
    from connector.config import load

    body = _body(file, sample, as_is=as_is)
    settings = load(config)
    answer = post(receiver_url(settings, url), body, secret_of(settings))
    _show(answer)
    if not answer.is_success:
        raise typer.Exit(1)


def _body(file: str | None, sample: str | None, *, as_is: bool) -> bytes:
    if (file is None) == (sample is None):
        from connector import samples

        raise UsageError(f"give a FILE, or --sample with one of: {', '.join(samples.names())}")
    return read_body(file) if file is not None else _sample(str(sample), as_is=as_is)


def _sample(name: str, *, as_is: bool) -> bytes:
    from connector import samples
    from connector.cli.opened import now, require_known

    require_known(name, samples.names(), "sample")
    body = samples.sample(name)
    return body if as_is else samples.dated(body, now())


def read_body(file: str) -> bytes:
    """The bytes of a file, or of standard input for `-`. Raises `UsageError`."""
    if file == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}") from None


def receiver_url(settings: Config, url: str | None = None) -> str:
    """Where to post: `url`, with the configured path if it has none, else what the configuration says."""
    from urllib.parse import urlsplit

    path = settings.hireflix.webhook_path
    if url is None:
        if settings.server.port == 0:
            raise UsageError("the service listens on any free port; say which with --url")
        return f"http://{_reachable(settings.server.host)}:{settings.server.port}{path}"
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise UsageError("--url must be an address such as http://127.0.0.1:8000")
    return url if parts.path.strip("/") else f"{url.rstrip('/')}{path}"


def _reachable(host: str) -> str:
    host = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)  # noqa: S104 - read, not bound
    return f"[{host}]" if ":" in host else host


def secret_of(settings: Config) -> str | None:
    """The first webhook secret; `None` when the service takes unsigned webhooks. Raises `UsageError` without one."""
    if settings.hireflix.webhook_secrets:
        return settings.hireflix.webhook_secrets[0].get_secret_value()
    if settings.hireflix.allow_unsigned:
        return None
    raise UsageError("there is no secret to sign with yet: start `connector serve` once, it makes one")


def post(url: str, body: bytes, secret: str | None) -> httpx.Response:
    """Posts a body, signed if there is a secret. Raises `ConnectorError` when nobody answers."""
    import httpx

    from connector.http import host_of, is_loopback

    try:
        # no proxy knows the way back to this machine
        with httpx.Client(trust_env=not is_loopback(host_of(url)), timeout=TIMEOUT) as client:
            return client.post(url, content=body, headers=headers(body, secret))
    except httpx.ConnectError:
        raise ConnectorError(f"nobody listens at {url}; is `connector serve` running?") from None
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise ConnectorError(f"no answer from {url}: {type(error).__name__}") from None


def headers(body: bytes, secret: str | None) -> dict[str, str]:
    """The headers that Hireflix sends with a body."""
    from connector.hireflix.signature import HEADER, sign

    signed = {} if secret is None else {HEADER.decode(): sign(secret, body)}
    return {"content-type": "application/json", **signed}


def _show(answer: httpx.Response) -> None:
    from connector.cli.terminal import safe, tell

    print(answer.status_code, safe(answer.text[:SHOWN].strip()))
    if answer.status_code in ADVICE:
        tell(ADVICE[answer.status_code])
