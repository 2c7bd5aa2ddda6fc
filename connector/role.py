"""The role of a process."""

from __future__ import annotations

from enum import StrEnum


class Role(StrEnum):
    """`receiver` receives webhooks, `worker` delivers, `all` does both."""

    ALL = "all"
    RECEIVER = "receiver"
    WORKER = "worker"

    @property
    def receives(self) -> bool:
        """Whether the process receives webhooks."""
        return self is not Role.WORKER

    @property
    def works(self) -> bool:
        """Whether the process delivers to sinks."""
        return self is not Role.RECEIVER
