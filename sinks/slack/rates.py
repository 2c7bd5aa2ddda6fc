"""How often Slack may be called (Slack, Rate limits): about one message per second and channel, 50 edits a minute and
50 reads a minute in the whole workspace.
"""

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
EDIT_RATE = 0.8
EDIT_BURST = 3
LOOK_RATE = 0.75
LOOK_BURST = 5
MENTION_RATE = 1 / 60
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
        place = config.channel or account
        self.post: Sequence[Token] = (
            Token(f"slack:{place}", config.rate_per_second, BURST),
            Token(f"slack-workspace:{account}", max(WORKSPACE_RATE, config.rate_per_second), WORKSPACE_BURST),
        )
        """For one message: the channel's, then the workspace's."""
        self.edit: Sequence[Token] = (Token(f"slack-edit:{account}", EDIT_RATE, EDIT_BURST),)
        self.delete: Sequence[Token] = (Token(f"slack-delete:{account}", EDIT_RATE, EDIT_BURST),)
        self.history: Sequence[Token] = (Token(f"slack-history:{account}", LOOK_RATE, LOOK_BURST),)
        self.replies: Sequence[Token] = (Token(f"slack-replies:{account}", LOOK_RATE, LOOK_BURST),)
        self.mention = Token(f"slack-mention:{place}", MENTION_RATE)

    def look(self, thread: str) -> Sequence[Token]:
        """For one look into a thread, or into the channel."""
        return self.replies if thread else self.history


async def rest(reply: Reply, tokens: Sequence[Token], context: Context) -> float | None:
    """Seconds that a throttled call asks everybody to wait, its bucket shut for as long; otherwise `None`.

    Only a workspace that is full shuts more than the first of the tokens.
    """
    if reply.kind is not Kind.THROTTLED:
        return None
    full = reply.error == WORKSPACE_FULL
    asked = retry_after(reply.headers, context.now())
    seconds = min(max(asked or (LONG_REST if full else USUAL_REST), LEAST_REST), RETRY_AFTER_MAX)
    for token in tokens if full else tokens[:1]:
        await context.block(token.bucket, seconds)
    return seconds
