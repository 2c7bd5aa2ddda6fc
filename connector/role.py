"""What a process does."""

from __future__ import annotations

from enum import StrEnum


class Role(StrEnum):
    """`receiver` takes webhooks, `worker` delivers, `all` does both."""

    ALL = "all"
    RECEIVER = "receiver"
    WORKER = "worker"

    @property
    def receives(self) -> bool:
        return self is not Role.WORKER

    @property
    def works(self) -> bool:
        return self is not Role.RECEIVER
