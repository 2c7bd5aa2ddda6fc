"""The sink `slack`: posts what happens to interviews in a Slack channel."""

from importlib.util import find_spec

for _needed in ("aiohttp", "slack_sdk"):
    # loaded only when used, to keep commands fast; a missing one has to be reported when the type is configured
    if find_spec(_needed) is None:
        raise ModuleNotFoundError(f"No module named {_needed!r}", name=_needed)

from sinks.slack.sink import SlackSink as SlackSink  # noqa: E402 - after the check, whose message is the better one
