"""The imports of the sink's type."""

from __future__ import annotations

import subprocess
import sys

from connector.capabilities import Previews
from sinks.slack import SlackSink


def test_the_heavy_libraries_are_loaded_by_open_alone() -> None:
    """A fresh process is needed: in this one other tests have loaded them."""
    code = "import sys, sinks.slack; print(sorted({'aiohttp', 'slack_sdk'} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_the_sink_can_preview() -> None:
    config = SlackSink.Config(token="xoxb-1-2-3", channel="C0123456789")
    assert isinstance(SlackSink("one", config), Previews)


def test_a_finish_goes_before_everything_else() -> None:
    assert min(SlackSink.priority, key=SlackSink.priority.__getitem__) == "interview.finish"
    assert max(SlackSink.priority, key=SlackSink.priority.__getitem__) == "interview.create"
