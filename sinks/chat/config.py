"""Settings that every chat shares."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from connector.sink import SinkConfig
from sinks.chat.changes import Events
from sinks.chat.mentions import MentionRule
from sinks.chat.quiet_hours import QuietHours
from sinks.chat.wording import Templates

LINK_HOSTS = ("hireflix.com", "hflx.io")
"""Hosts of Hireflix's own pages."""


def _host(host: str) -> str:
    if not re.fullmatch(r"[a-z0-9-]+(\.[a-z0-9-]+)+", host):
        raise ValueError("must be a bare host name in small letters such as hireflix.com")
    return host


class ChatConfig(SinkConfig):
    """Settings of a chat. A service adds credentials and a channel."""

    max_age: float = Field(
        86_400.0, ge=0, description="Seconds; an older event notifies nobody, and the digest counts it."
    )
    privacy: Literal["full", "initials", "none", "auto"] = Field(
        "full",
        description="How the candidate is named: in full, by initials, only by the end of the interview's id, or, with "
        "auto, in full where the service says that the channel is private and by initials elsewhere.",
    )
    events: Events = Field(Events(), description="What each kind of event does.")
    digest: Literal["position", "off"] = Field(
        "position", description="One digest per position for events without a message of their own, or none at all."
    )
    digest_window: float = Field(
        25.0, ge=1, le=3600, description="Seconds that a digest gathers before it is posted or edited."
    )
    quiet_hours: QuietHours | None = Field(None, description="When events wait for the digest; none by default.")
    deleted_message: Literal["leave", "replace"] = Field(
        "leave", description="When users delete an interview's message: leave it so, or post a new one."
    )
    templates: Templates = Field(Templates(), description="The wording.")
    link_hosts: tuple[Annotated[str, AfterValidator(_host)], ...] = Field(
        LINK_HOSTS, description="The button may lead to these hosts and the ones below them."
    )

    @model_validator(mode="after")
    def _something_after_quiet_hours(self) -> Self:
        if self.digest == "off" and self.quiet_hours is not None and self.quiet_hours.finish == "digest":
            raise ValueError(
                'quiet_hours with digest = "off" would lose finished interviews: set quiet_hours.finish = "speak", or '
                'digest = "position"'
            )
        return self

    @property
    def edits(self) -> bool:
        """Whether the service can edit, delete and search messages and has threads. Without, each announcement is a
        message of its own.
        """
        return True

    @property
    def mention_rules(self) -> Sequence[MentionRule]:
        """The rules for mentions."""
        return ()
