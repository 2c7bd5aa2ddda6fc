"""The geometry of the pictures. Pure functions: rows in, shapes out; the templates only write them as SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from connector.formats import counted

BEATS = 48
"""Bars of a heartbeat: half hours of a day."""
BEAT_MS = 1_800_000
BEAT_WIDTH = 6
BEAT_HEIGHT = 28
LANE_HEIGHT = 58
LANE_TOP = 12
ARROW_MAX = 14
"""Widest arrow, in units of the picture."""


@dataclass(frozen=True, slots=True)
class Bar:
    """A rectangle with its class and its text."""

    x: float
    y: float
    width: float
    height: float
    mark: str
    title: str


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """The deliveries of a sink in the last day; `text` says the same in words."""

    bars: list[Bar]
    text: str


def heartbeat(counts: Mapping[int, Mapping[str, int]], first: int) -> Heartbeat:
    """Draws one bar per half hour. `counts` maps the number of a half hour to counts by class (`ok`, `bad`).

    `first` is the number of the first half hour. The height is the share of the greatest count, as a square root, so
    that a burst does not hide single deliveries. A bar with a failure has a notch on top, so that colour is not needed.
    """
    totals = {at: sum(each.values()) for at, each in counts.items()}
    greatest = max(totals.values(), default=0)
    bars = []
    for number in range(BEATS):
        total = totals.get(first + number, 0)
        bad = counts.get(first + number, {}).get("bad", 0)
        height = max(4.0, BEAT_HEIGHT * (total / greatest) ** 0.5) if total else 2.0
        mark = "bad" if bad else "ok" if total else "none"
        hours = (BEATS - number) / 2
        title = f"{hours:g} h ago: {total} done" + (f", {bad} rejected" if bad else "")
        bars.append(Bar(number * BEAT_WIDTH, BEAT_HEIGHT - height, BEAT_WIDTH - 1.5, height, mark, title))
    done, bad = sum(totals.values()), sum(each.get("bad", 0) for each in counts.values())
    return Heartbeat(bars, f"{done} done in 24 h" + (f", {bad} rejected" if bad else ""))


@dataclass(frozen=True, slots=True)
class Lane:
    """A sink in the picture of the way of an event."""

    name: str
    mark: str
    state: str
    pending: int


@dataclass(frozen=True, slots=True)
class LaneShape:
    """A lane with its place: `y` is its middle, `path` its arrow and `width` the width of the arrow."""

    lane: Lane
    y: int
    path: str
    width: float
    count: str


@dataclass(frozen=True, slots=True)
class Flow:
    """The picture of the way of an event; `middle` is the height of the source, the receiver and the store."""

    height: int
    middle: int
    lanes: list[LaneShape]
    text: str


def flow(lanes: Sequence[Lane]) -> Flow:
    """Draws one arrow per sink. The width of an arrow grows with the queue."""
    height = LANE_TOP * 2 + LANE_HEIGHT * max(1, len(lanes))
    middle = height // 2
    shapes = []
    for number, lane in enumerate(lanes):
        y = LANE_TOP + LANE_HEIGHT * number + LANE_HEIGHT // 2
        path = f"M440 {middle} C 500 {middle} 500 {y} 556 {y}"
        width = min(ARROW_MAX, 2 + lane.pending**0.5)
        shapes.append(LaneShape(lane, y, path, round(width, 1), str(lane.pending) if lane.pending else ""))
    words = "; ".join(
        f"{lane.name}: {lane.state}, {counted(lane.pending, 'delivery', 'deliveries')} pending" for lane in lanes
    )
    return Flow(
        height, middle, shapes, f"From Hireflix through receiver and store to the sinks. {words or 'No sinks'}."
    )


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a stacked bar, in percent of the longest one."""

    x: float
    width: float
    stage: str
    count: int


def stacked(counts: Mapping[str, int], longest: int) -> list[Part]:
    """Draws a bar from counts by stage. `longest` is the total of the longest bar."""
    parts, x = [], 0.0
    for stage, count in counts.items():
        width = 100 * count / max(1, longest)
        parts.append(Part(round(x, 2), round(width, 2), stage, count))
        x += width
    return parts
