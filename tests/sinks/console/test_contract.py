"""The conformance suite of the contract for the console."""

from __future__ import annotations

import io

import pytest

from connector.testing.contract import SinkContract
from sinks.console import Console, ConsoleConfig


class Terminal(io.StringIO):
    """A terminal whose reader may be closed and opened again."""

    gone = False

    def write(self, text):
        if self.gone:
            raise BrokenPipeError
        return super().write(text)


class TestConsole(SinkContract):
    capabilities = frozenset({"notifies", "previews"})
    may_double = True

    @pytest.fixture(autouse=True)
    def _terminal(self):
        self.stream = Terminal()

    def make_sink(self):
        sink = Console("terminal", ConsoleConfig())
        sink.stream = self.stream
        return sink

    def delivered(self):
        return self.stream.getvalue().splitlines()

    def break_destination(self):
        self.stream.gone = True

    def mend_destination(self):
        self.stream.gone = False
