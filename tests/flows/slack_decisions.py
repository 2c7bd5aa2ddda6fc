"""The users and the Slack sink of the tests of decisions in Slack."""

from __future__ import annotations

import json
from collections.abc import Sequence

from connector.emulators.slack import SlackEmulator

ANA, BOB, EVE = "U00000ANA", "U00000BOB", "U00000EVE"


def slack_sink(slack: SlackEmulator, channel: str, deciders: Sequence[str]) -> str:
    """Returns the settings of the sink `recruiting`, in whose channel these users and user groups may decide."""
    return f"""
[sinks.recruiting]
type = "slack"
token = "{slack.token}"
app_token = "{slack.app_token}"
channel = "{channel}"
api_url = "{slack.api_url}"
rate_per_second = 20
decisions.deciders = {json.dumps(deciders)}
"""
