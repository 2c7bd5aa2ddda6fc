"""The public testing kit for authors of sinks: a clock, a context, values, a little dispatcher.

`MessageLane` plays many events to a message sink, crashes included.

`connector.testing.contract` holds `SinkContract`, the conformance suite; it needs pytest, the rest does not.
"""

from connector.testing.clock import START, ManualClock
from connector.testing.context import FakeContext
from connector.testing.lane import MessageLane
from connector.testing.make import (
    interview_id,
    make_batch,
    make_delivery,
    make_erase,
    make_event,
    make_interview,
    make_values,
)
from connector.testing.run import notes_for, run_all, run_batch, run_until_settled

__all__ = [
    "START",
    "FakeContext",
    "ManualClock",
    "MessageLane",
    "interview_id",
    "make_batch",
    "make_delivery",
    "make_erase",
    "make_event",
    "make_interview",
    "make_values",
    "notes_for",
    "run_all",
    "run_batch",
    "run_until_settled",
]
