"""Settings of a Slack sink. Errors say what to do."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, model_validator

from connector.http import SafeUrl, safe_url
from sinks.chat.config import ChatConfig, MentionRule

_WHO = re.compile(r"[UW][A-Z0-9]{6,20}|S[A-Z0-9]{6,20}|@here|@channel")


def _known(who: str) -> str:
    if not _WHO.fullmatch(who):
        raise ValueError(
            "must be a member's id (U0123456789), a user group's id (S0123456789), @here or @channel: in Slack open "
            "the profile, press the three dots, Copy member ID"
        )
    return who


class Mention(MentionRule):
    """A rule for a mention in Slack (Slack, Formatting message text, mentions)."""

    who: Annotated[str, AfterValidator(_known)] = Field(
        description="A member's id (U…), a user group's (S…), @here or @channel."
    )

    @property
    def mention(self) -> str:
        if self.who.startswith("@"):
            return f"<!{self.who[1:]}>"
        return f"<!subteam^{self.who}>" if self.who.startswith("S") else f"<@{self.who}>"


def _decider(who: str) -> str:
    if who.startswith("@") or not _WHO.fullmatch(who):
        raise ValueError(
            "must be a member's id (U0123456789) or a user group's id (S0123456789): in Slack open the profile, press "
            "the three dots, Copy member ID"
        )
    return who


class Decisions(BaseModel):
    """Who decides on interviews with the buttons of their messages."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    deciders: tuple[Annotated[str, AfterValidator(_decider)], ...] = Field(
        min_length=1, max_length=100, description="Ids of members (U…) and user groups (S…) who may decide."
    )

    @property
    def groups(self) -> Sequence[str]:
        """The user groups among the deciders."""
        return [who for who in self.deciders if who.startswith("S")]


def _app_token(token: SecretStr) -> SecretStr:
    if not re.fullmatch(r"xapp-[A-Za-z0-9-]+", token.get_secret_value()):
        raise ValueError(
            "must be an app-level token, which starts with xapp- (Slack app, Basic Information, App-Level Tokens)"
        )
    return token


def _bot_token(token: SecretStr) -> SecretStr:
    if not re.fullmatch(r"xoxb-[A-Za-z0-9-]+", token.get_secret_value()):
        raise ValueError("must be the app's Bot User OAuth Token, which starts with xoxb- (Slack app, Install App)")
    return token


def _channel_id(channel: str) -> str:
    if not re.fullmatch(r"[CGD][A-Z0-9]{6,20}", channel):
        raise ValueError(
            "must be a channel id such as C0123456789, not a name: in Slack open the channel's details, the id is "
            "at the very bottom"
        )
    return channel


def _webhook(url: SecretStr) -> SecretStr:
    safe_url(url.get_secret_value())
    return url


class SlackConfig(ChatConfig):
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
    mentions: tuple[Mention, ...] = Field(
        (), max_length=20, description="Whom a message mentions; the first rule that applies, at most once a minute."
    )

    app_token: Annotated[SecretStr, AfterValidator(_app_token)] | None = Field(
        None, description="App-level token (xapp-…) with the scope connections:write; needed for `decisions`."
    )
    decisions: Decisions | None = Field(
        None, description="Buttons for decisions in the messages, and who may press them; none by default."
    )

    @property
    def decides(self) -> bool:
        """Whether messages have buttons for decisions."""
        return self.decisions is not None

    @property
    def edits(self) -> bool:
        """A bot edits its messages; an incoming webhook cannot."""
        return self.channel is not None

    @property
    def mention_rules(self) -> Sequence[Mention]:
        return self.mentions

    @model_validator(mode="after")
    def _check_credentials(self) -> Self:
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
            raise ValueError("`deleted_message` needs a bot token: a webhook cannot see which messages were deleted")
        if self.decisions is not None and self.webhook_url is not None:
            raise ValueError("`decisions` needs a bot token: the messages of a webhook cannot have buttons that work")
        if self.decisions is not None and self.app_token is None:
            raise ValueError(
                "`decisions` needs `app_token`; set CONNECTOR_DEFAULTS__SLACK__APP_TOKEN to an app-level token "
                "(xapp-…): docs/slack.md, Decisions"
            )
        return self
