"""The role of a process, and the secrets that it needs."""

from __future__ import annotations

from enum import Flag, StrEnum, auto


class Secrets(Flag):
    """The secrets that a process needs. A process gets no others (principle of least privilege)."""

    NONE = 0
    SOURCE = auto()
    """The webhook secrets of Hireflix."""
    SINKS = auto()
    """The credentials of the destinations."""
    ALL = SOURCE | SINKS


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

    @property
    def needs(self) -> Secrets:
        """The secrets that the process needs. A receiver has no credentials of sinks, a worker no webhook secrets."""
        return (Secrets.SOURCE if self.receives else Secrets.NONE) | (Secrets.SINKS if self.works else Secrets.NONE)
