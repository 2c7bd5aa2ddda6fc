"""Every exception of ours, by what the one who catches it has to do.

ConnectorError
  ConfigError          tell the person all problems at once, exit 2
  UsageError           tell the person what to type instead, exit 2
  StoreError
    StoreUnavailable   answer 503 and try again: nothing was written
    SchemaMismatch     refuse to start and say which command mends it
  SinkBroken           pause that sink, alert once, probe, go on with the others
  RateLimited                 no token now: the delivery waits for that bucket
  LeaseLost            another worker writes to this sink: drop the batch without outcomes
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class ConnectorError(Exception):
    """Base of all errors that are told without a traceback."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with the configuration: where, what, and what to do. Never holds the input value."""

    place: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        return f"{self.place}: {self.message}" + (f" ({self.hint})" if self.hint else "")


class ConfigError(ConnectorError):
    """The configuration cannot be used; `problems` holds all of them."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)


class UsageError(ConnectorError):
    """A command was asked for something it cannot do; the message says what to type instead."""


class StoreError(ConnectorError):
    """The store cannot be used."""


class StoreUnavailable(StoreError):
    """The store took nothing (full disk, locked file, database gone); the same call may succeed later."""


class SchemaMismatch(StoreError):
    """The store's schema is older or newer than this version."""


class SinkBroken(ConnectorError):
    """The destination cannot be used until a person acts; the call was *not applied*.

    `reason` says what is wrong and `fix` what to do about it, both without secrets or personal data. The dispatcher
    pauses the sink, keeps its queue, counts no attempt and probes every few minutes. When the destination worked in the
    call before, the first refusal is confirmed by a second call some seconds later. With `until_person` the sink pauses
    at once and there is no probe: only `connector resume` goes on.
    """

    def __init__(self, reason: str, fix: str, *, until_person: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.fix = fix
        self.until_person = until_person


class RateLimited(ConnectorError):
    """A bucket has no token for this call; raised by `Context.take` before anything was sent."""

    def __init__(self, bucket: str, seconds: float) -> None:
        super().__init__(f"no token in {bucket} for {seconds:.3f} s")
        self.bucket = bucket
        self.seconds = seconds


class LeaseLost(ConnectorError):
    """The lease on this sink went to another worker; whatever the batch was doing no longer counts."""
