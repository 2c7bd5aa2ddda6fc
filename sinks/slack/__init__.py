"""Tells a Slack channel what happened (message sink)."""

from importlib.util import find_spec

for _needed in ("aiohttp", "slack_sdk"):
    # they are loaded when they are used, to keep commands fast; that they are missing must show when the type is named
    if find_spec(_needed) is None:
        raise ModuleNotFoundError(f"No module named {_needed!r}", name=_needed)

from sinks.slack.sink import SlackSink  # noqa: E402 - after the check, whose message is the better one

SINK = SlackSink
