"""How often Slack may be called (Slack, Rate limits): about one message per second and channel, 50 reads a minute."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

from connector.http import RETRY_AFTER_MAX, retry_after
from connector.sink import Context, Token
from sinks.slack.answers import Kind, Reply
from sinks.slack.config import SlackConfig

BURST = 3
WORKSPACE_RATE = 3.0
WORKSPACE_BURST = 9
LOOK_RATE = 0.75
LOOK_BURST = 5
LEAST_REST = 1.0
USUAL_REST = 3.0
"""Seconds to wait when Slack said 429 without saying how long."""
LONG_REST = 600.0
"""Seconds to wait when the workspace as a whole has sent too much."""
WORKSPACE_FULL = "message_limit_exceeded"


class Rates:
    """The buckets of one sink, shared with every other sink of the same channel, token or webhook."""

    def __init__(self, config: SlackConfig) -> None:
        secret = config.webhook_url or config.token
        assert secret is not None
        account = sha256(secret.get_secret_value().encode()).hexdigest()[:12]
        self._post = Token(f"slack:{config.channel or account}", config.rate_per_second, BURST)
        self._workspace = Token(
            f"slack-workspace:{account}", max(WORKSPACE_RATE, config.rate_per_second), WORKSPACE_BURST
        )
        self._look = Token(f"slack-history:{account}", LOOK_RATE, LOOK_BURST)

    def to_post(self) -> Sequence[Token]:
        """Tokens for one message: the channel's, then the workspace's."""
        return self._post, self._workspace

    def to_look(self) -> Sequence[Token]:
        """The token for one look into the channel's history."""
        return (self._look,)

    async def after_post(self, reply: Reply, context: Context) -> float | None:
        """Seconds that a throttled post asks everybody to wait, their bucket shut for as long; otherwise `None`."""
        tokens = self.to_post() if reply.error == WORKSPACE_FULL else self.to_post()[:1]
        return await _rest(reply, tokens, context)

    async def after_look(self, reply: Reply, context: Context) -> float | None:
        """As `after_post`, for a look into the history."""
        return await _rest(reply, self.to_look(), context)


async def _rest(reply: Reply, tokens: Sequence[Token], context: Context) -> float | None:
    if reply.kind is not Kind.THROTTLED:
        return None
    usual = LONG_REST if reply.error == WORKSPACE_FULL else USUAL_REST
    asked = retry_after(reply.headers, context.now())
    seconds = min(max(asked or usual, LEAST_REST), RETRY_AFTER_MAX)
    for token in tokens:
        await context.close(token.bucket, seconds)
    return seconds
