"""Settings of a Slack sink, refused with a sentence that says what to do."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, SecretStr, model_validator

from connector.http import SafeUrl, safe_url
from connector.sink import SinkConfig
from sinks.chat.config import Events
from sinks.chat.quiet_hours import QuietHours
from sinks.slack.mentions import Mention
from sinks.slack.wording import Templates


def _bot_token(token: SecretStr) -> SecretStr:
    if not re.fullmatch(r"xoxb-[A-Za-z0-9-]+", token.get_secret_value()):
        raise ValueError("must be the app's Bot User OAuth Token, which starts with xoxb- (Slack app, Install App)")
    return token


def _channel_id(channel: str) -> str:
    if not re.fullmatch(r"[CGD][A-Z0-9]{6,20}", channel):
        raise ValueError(
            "must be a channel id such as C0123456789, not a name: in Slack open the channel's details, the id stands "
            "at the very bottom"
        )
    return channel


def _webhook(url: SecretStr) -> SecretStr:
    safe_url(url.get_secret_value())
    return url


def _host(host: str) -> str:
    if not re.fullmatch(r"[a-z0-9-]+(\.[a-z0-9-]+)+", host):
        raise ValueError("must be a bare host name in small letters such as hireflix.com")
    return host


class SlackConfig(SinkConfig):
    """A bot token and a channel, or the simple mode: an incoming webhook's address."""

    token: Annotated[SecretStr, AfterValidator(_bot_token)] | None = Field(
        None, description="Bot User OAuth Token (xoxb-…); needs the scope chat:write."
    )
    channel: Annotated[str, AfterValidator(_channel_id)] | None = Field(
        None, description="Id of the channel, such as C0123456789; required with `token`."
    )
    webhook_url: Annotated[SecretStr, AfterValidator(_webhook)] | None = Field(
        None, description="Address of an incoming webhook, instead of token and channel; its channel is fixed in Slack."
    )
    api_url: SafeUrl = Field("https://slack.com/api/", description="Where the Web API answers.")
    rate_per_second: float = Field(1.0, gt=0, le=20, description="Messages per second to the channel, in the long run.")
    max_age: float = Field(
        86_400.0, ge=0, description="Seconds after receipt from which an event only counts in the digest."
    )
    privacy: Literal["full", "initials", "none", "auto"] = Field(
        "full",
        description="How the candidate is named: in full, by initials, only by the end of the interview's id, or, with "
        "auto, in full where Slack says that the channel is private and by initials elsewhere.",
    )
    events: Events = Field(Events(), description="What each kind of event does.")
    digest: Literal["position", "off"] = Field(
        "position", description="One digest per position for what is not told one by one, or none at all."
    )
    digest_window: float = Field(
        25.0, ge=1, le=3600, description="Seconds that a digest gathers before it is posted or edited."
    )
    quiet_hours: QuietHours | None = Field(None, description="When only the digest may wait; none by default.")
    mentions: tuple[Mention, ...] = Field(
        (), max_length=20, description="Whom a message mentions; the first rule that applies, at most once a minute."
    )
    deleted_message: Literal["leave", "replace"] = Field(
        "leave", description="When people delete an interview's message: leave it so, or post a new one."
    )
    templates: Templates = Field(Templates(), description="The wording.")
    link_hosts: tuple[Annotated[str, AfterValidator(_host)], ...] = Field(
        ("hireflix.com", "hflx.io"), description="The button may lead to these hosts and the ones below them."
    )

    @model_validator(mode="after")
    def _one_way_in(self) -> Self:
        if self.webhook_url is None and self.token is None and self.channel is None:
            raise ValueError("needs `token` and `channel`, or `webhook_url`")
        if self.webhook_url is None and self.token is None:
            raise ValueError(
                "needs `token`; set CONNECTOR_DEFAULTS__SLACK__TOKEN to the app's Bot User OAuth Token (xoxb-…): "
                "docs/slack.md, step 3"
            )
        if self.webhook_url is None and self.channel is None:
            raise ValueError("needs `channel`: the id of the channel to post to, such as C0123456789")
        if self.webhook_url is not None and self.channel is not None:
            raise ValueError("`channel` has no effect with `webhook_url`, whose channel is fixed in Slack: remove one")
        if self.token is None and self.deleted_message == "replace":
            raise ValueError("`deleted_message` needs a bot token: a webhook does not learn what people delete")
        return self
