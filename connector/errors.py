"""All exceptions of the connector, with the action of the code that catches them.

ConnectorError
  ConfigError          print all problems, exit with 2
  UsageError           print the message, exit with 2
  StoreError
    StoreUnavailable   answer 503 or retry; nothing was written
    SchemaMismatch     refuse to start; the message names the command to run
    NewerDocument      refuse the event or show the message; nothing was written
  SinkBroken           pause the sink, alert once, probe; other sinks continue
  RateLimited          leave the delivery pending until the bucket has a token
  LeaseLost            drop the batch without outcomes; another worker writes to this sink
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class ConnectorError(Exception):
    """Base class of expected errors. Commands print the message without a traceback."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem of the configuration: the place, the message, and a hint what to do. Never contains the value."""

    place: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        return f"{self.place}: {self.message}" + (f" ({self.hint})" if self.hint else "")


class ConfigError(ConnectorError):
    """The configuration cannot be used. `problems` holds all problems."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)


class UsageError(ConnectorError):
    """A command was called with arguments that it cannot use. The message says what to do instead."""


class StoreError(ConnectorError):
    """The store cannot be used."""


class StoreUnavailable(StoreError):
    """Nothing was written (full disk, locked file, database unavailable). The same call may succeed later."""


class SchemaMismatch(StoreError):
    """The schema of the store is older or newer than this version supports."""


class NewerDocument(StoreError):
    """A stored JSON document has a newer version than this process can read."""

    def __init__(self, what: str, version: int) -> None:
        super().__init__(f"{what} was stored by a newer version (document version {version}); upgrade this process")


class SinkBroken(ConnectorError):
    """The destination cannot be used until an operator acts. The call was *not applied*.

    `reason` says what is wrong and `fix` what to do, both without secrets and personal data. The dispatcher pauses the
    sink, keeps its queue, counts no attempt, and probes the destination every few minutes. When the previous call
    succeeded, a second call some seconds later confirms the failure first. With `until_resumed` the sink pauses at once
    and is not probed; only `connector resume` resumes it. `label` is the reason for the log, without names that users
    gave, such as titles of tabs; default: `reason`.
    """

    def __init__(self, reason: str, fix: str, *, until_resumed: bool = False, label: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.fix = fix
        self.until_resumed = until_resumed
        self.label = label or reason


class RateLimited(ConnectorError):
    """A bucket has no token for `seconds`. `Context.take` raises it before anything is sent."""

    def __init__(self, bucket: str, seconds: float) -> None:
        super().__init__(f"no token in {bucket} for {seconds:.3f} s")
        self.bucket = bucket
        self.seconds = seconds


class LeaseLost(ConnectorError):
    """Another worker has the lease of this sink. The result of the running batch is dropped."""
