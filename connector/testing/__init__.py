"""The public testing kit for authors of sinks.

`run_batch` with a `FakeContext` tests one call of `deliver`. `LaneRunner` runs the real lane on a temporary store.
`connector.testing.contract` has `SinkContract`, the conformance suite; it needs pytest, the rest does not.
"""

import sys

if "pytest" in sys.modules:  # so that a failed assertion of the suite shows its values also in other packages
    sys.modules["pytest"].register_assert_rewrite("connector.testing.contract")

from connector.testing.context import START, FakeContext, ManualClock, run_batch
from connector.testing.lane import LaneRunner, StoredDelivery
from connector.testing.make import (
    interview_id,
    make_batch,
    make_delivery,
    make_erase,
    make_event,
    make_interview,
    make_values,
)

__all__ = [
    "START",
    "FakeContext",
    "LaneRunner",
    "ManualClock",
    "StoredDelivery",
    "interview_id",
    "make_batch",
    "make_delivery",
    "make_erase",
    "make_event",
    "make_interview",
    "make_values",
    "run_batch",
]
