"""`connector send`."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Annotated

import httpx
import typer

from connector.cli import FAILED
from connector.cli import options as o
from connector.cli.output import print_hint, safe
from connector.config import load
from connector.errors import UsageError
from connector.hireflix import samples
from connector.operations.send import (
    JOURNEY,
    JOURNEY_STEPS,
    journey_interview,
    post,
    receiver_url,
    sample_body,
    secret_of,
)
from connector.operations.sinks import require_known
from connector.operations.store_access import now
from connector.role import Secrets

SHOWN_CHARACTERS = 500
"""Characters of a response that are printed."""

ADVICE = {
    401: "the service has another secret: use the --config or the variables of the service",
    404: "the service listens on another path: see hireflix.webhook_path",
    405: "the service listens on another path: see hireflix.webhook_path",
    413: "the body is larger than 1 MiB",
    503: "the service cannot store events now: try again, and see its log",
}


def send(
    file: Annotated[
        str | None, typer.Argument(metavar="FILE", help="File with the body, sent byte for byte; - is standard input.")
    ] = None,
    sample: Annotated[
        str | None,
        typer.Option(
            "--sample",
            metavar="NAME",
            help="Send a sample instead, such as interview.finish, or journey: the whole life of one interview.",
        ),
    ] = None,
    *,
    url: Annotated[
        str | None,
        typer.Option("--url", metavar="U", help="Address of the receiver; default: the one in the configuration."),
    ] = None,
    as_is: Annotated[
        bool, typer.Option("--as-is", help="Keep the date of the sample; default: the current time.")
    ] = False,
    pause: Annotated[
        float, typer.Option("--pause", metavar="SECONDS", min=0, help="Time between the webhooks of a journey.")
    ] = 3.0,
    remove: Annotated[
        bool, typer.Option("--remove", help="Erase the interview of a journey at the end, as `connector erase` does.")
    ] = False,
    config: o.ConfigOption = None,
) -> None:
    """Sign a payload as Hireflix does and post it.

    The address of the receiver and the secret come from the configuration. A journey is an invitation, a finish, a
    score and a decision of one new interview.
    """
    if sample == JOURNEY and file is None:
        _send_journey(config, url, pause, remove=remove)
        return
    if remove:
        raise UsageError("--remove belongs to --sample journey")
    body = _body(file, sample, as_is=as_is)
    settings = load(config, needs=Secrets.SOURCE)
    response = post(receiver_url(settings, url), body, secret_of(settings))
    _show(response)
    if not response.is_success:
        raise typer.Exit(FAILED)


def _send_journey(config: Path | None, url: str | None, pause: float, *, remove: bool) -> None:
    settings = load(config, needs=Secrets.ALL if remove else Secrets.SOURCE)
    target, secret = receiver_url(settings, url), secret_of(settings)
    interview = journey_interview(now())
    for step in JOURNEY_STEPS:
        response = post(target, step.body(interview, now()), secret)
        print(f"{step.event:<26}", end="")
        _show(response)
        if not response.is_success:
            raise typer.Exit(FAILED)
        if remove or step is not JOURNEY_STEPS[-1]:
            time.sleep(pause)
    if remove:
        from connector.app import running_lane  # not for every `send`: it takes a quarter of a second
        from connector.operations.erase import erase

        receipt = asyncio.run(erase(settings, [interview["id"]], running_lane, actor=o.actor()))
        print(f"{interview['id']} is erased" if receipt.complete else "not everything is erased yet")
        if not receipt.complete:
            raise typer.Exit(FAILED)
    else:
        print_hint(f"`connector erase {interview['id']}` removes it from the store and from all destinations")


def _body(file: str | None, sample: str | None, *, as_is: bool) -> bytes:
    if file is not None and sample is None:
        return o.read_body(file)
    known = [*samples.names(), JOURNEY]
    if sample is not None and file is None:
        return sample_body(require_known(sample, known, "sample"), as_is=as_is)
    raise UsageError(f"give a FILE, or --sample with one of: {', '.join(known)}")


def _show(response: httpx.Response) -> None:
    print(response.status_code, safe(response.text[:SHOWN_CHARACTERS].strip()))
    if response.status_code in ADVICE:
        print_hint(ADVICE[response.status_code])
