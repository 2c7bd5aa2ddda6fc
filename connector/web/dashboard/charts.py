"""The geometry of the charts. Pure functions; the templates write the shapes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from connector.formats import format_duration
from connector.languages import Language, ngettext_noop

HALF_HOURS = 48
"""Bars of an activity chart: half hours of a day."""
HALF_HOUR_MS = 1_800_000
BAR_WIDTH = 6
CHART_HEIGHT = 28
LANE_HEIGHT = 58
LANE_TOP = 12
ARROW_MAX = 14
"""Widest arrow, in units of the picture."""
LAG_BOUNDS_MS = (1_000, 3_000, 10_000, 30_000, 60_000, 180_000, 600_000, 3_600_000, 21_600_000, 86_400_000)
"""Upper bounds of the classes of lags; the last class has no bound. A lag is counted, not stored, so a chart of a day
costs one query.
"""
LAG_STEP = 9
"""Height of a class of lags in the picture."""


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
class ActivityChart:
    """What a sink, or the receiver, did in the last day; `text` says the same in words."""

    bars: list[Bar]
    text: str


DONE = ngettext_noop("{count} done in 24 h", "{count} done in 24 h")
RECEIVED = ngettext_noop("{count} received in 24 h", "{count} received in 24 h")
"""The words for the sum of an activity chart: of the deliveries of a sink, and of received events."""


def activity(
    counts: Mapping[int, Mapping[str, int]], first: int, words: Language, sums: tuple[str, str] = DONE
) -> ActivityChart:
    """Draws one bar per half hour. `counts` maps the number of a half hour to counts by class (`ok`, `bad`).

    `first` is the number of the first half hour. The height is the share of the greatest count, as a square root, so
    that a burst does not hide single deliveries. A bar with a failure has a notch on top, so that colour is not needed.
    """
    totals = {at: sum(each.values()) for at, each in counts.items()}
    greatest = max(totals.values(), default=0)
    bars = []
    for number in range(HALF_HOURS):
        total = totals.get(first + number, 0)
        bad = counts.get(first + number, {}).get("bad", 0)
        height = max(4.0, CHART_HEIGHT * (total / greatest) ** 0.5) if total else 2.0
        mark = "bad" if bad else "ok" if total else "none"
        title = f"{_ago(number, words)}: {total}{_rejected(bad, words)}"
        bars.append(Bar(number * BAR_WIDTH, CHART_HEIGHT - height, BAR_WIDTH - 1.5, height, mark, title))
    done, bad = sum(totals.values()), sum(each.get("bad", 0) for each in counts.values())
    text = words.ngettext(*sums, done).format(count=words.number(done))
    return ActivityChart(bars, f"{text}{_rejected(bad, words)}")


def _ago(number: int, words: Language) -> str:
    """Returns how long ago a half hour of the last day began."""
    return words.gettext("{hours} h ago").format(hours=words.number((HALF_HOURS - number) / 2))


def _rejected(count: int, words: Language) -> str:
    text = words.ngettext(", {count} rejected", ", {count} rejected", count)
    return text.format(count=words.number(count)) if count else ""


@dataclass(frozen=True, slots=True)
class SinkArrow:
    """A sink in the picture of the path of an event."""

    name: str
    mark: str
    state: str
    pending: int


@dataclass(frozen=True, slots=True)
class LaneShape:
    """A lane with its place: `y` is its middle, `path` its arrow and `width` the width of the arrow."""

    lane: SinkArrow
    y: int
    path: str
    width: float
    count: str


@dataclass(frozen=True, slots=True)
class Flow:
    """The picture of the path of an event; `middle` is the height of the source, the receiver and the store."""

    height: int
    middle: int
    lanes: list[LaneShape]
    text: str


def flow(lanes: Sequence[SinkArrow], words: Language) -> Flow:
    """Draws one arrow per sink. The width of an arrow grows with the queue."""
    height = LANE_TOP * 2 + LANE_HEIGHT * max(1, len(lanes))
    middle = height // 2
    shapes = []
    for number, lane in enumerate(lanes):
        y = LANE_TOP + LANE_HEIGHT * number + LANE_HEIGHT // 2
        path = f"M440 {middle} C 500 {middle} 500 {y} 556 {y}"
        width = min(ARROW_MAX, 2 + lane.pending**0.5)
        shapes.append(LaneShape(lane, y, path, round(width, 1), str(lane.pending) if lane.pending else ""))
    pending = [
        words.ngettext("{count} delivery pending", "{count} deliveries pending", lane.pending).format(
            count=words.number(lane.pending)
        )
        for lane in lanes
    ]
    sinks = [f"{lane.name}: {lane.state}, {each}" for lane, each in zip(lanes, pending, strict=True)]
    way = words.gettext("From Hireflix through receiver and store to the sinks.")
    listed = "; ".join(sinks) or words.gettext("No sinks")
    return Flow(height, middle, shapes, f"{way} {listed}.")


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


LAG_HEIGHT = LAG_STEP * (len(LAG_BOUNDS_MS) + 1)


@dataclass(frozen=True, slots=True)
class LagChart:
    """The time from receipt to delivery in the last day: one bar per half hour, from the median to the 95th percentile.

    `lines` are the heights of some lags with their texts, `rows` the same as numbers: time, median, percentile, count.
    """

    bars: list[Bar]
    lines: list[tuple[float, str]]
    rows: list[tuple[str, str, str, int]]
    text: str


def lag_chart(counts: Mapping[int, Mapping[int, int]], first: int, words: Language) -> LagChart:
    """Draws lags. `counts` maps the number of a half hour to counts by class: 0 is below the first bound.

    `first` is the number of the first half hour.
    """
    bars: list[Bar] = []
    rows: list[tuple[str, str, str, int]] = []
    for number in range(HALF_HOURS):
        found = counts.get(first + number, {})
        total = sum(found.values())
        if not total:
            continue
        median, high = _percentile(found, total, 0.5), _percentile(found, total, 0.95)
        top, bottom = LAG_HEIGHT - (high + 1) * LAG_STEP, LAG_HEIGHT - median * LAG_STEP
        when, half, most = _ago(number, words), lag_text(median, words), lag_text(high, words)
        title = words.gettext("{when}: half {median}, 95 % {high}, of {total}")
        title = title.format(when=when, median=half, high=most, total=total)
        bars.append(Bar(number * BAR_WIDTH, top, BAR_WIDTH - 1.5, bottom - top, "ok", title))
        rows.append((when, half, most, total))
    everything = _added(counts.values())
    total = sum(everything.values())
    text = words.gettext("nothing delivered in 24 h")
    if total:
        median, high = _percentile(everything, total, 0.5), _percentile(everything, total, 0.95)
        text = words.gettext("half of the deliveries took {median}, 95 % took {high}")
        text = text.format(median=lag_text(median, words), high=lag_text(high, words))
    lines = [(float(LAG_HEIGHT - (number + 1) * LAG_STEP), _bound(LAG_BOUNDS_MS[number])) for number in (0, 4, 7)]
    return LagChart(bars, lines, rows, text)


def lag_text(number: int, words: Language) -> str:
    """Returns a class of lags in words, such as `up to 3 s`."""
    if number >= len(LAG_BOUNDS_MS):
        return words.gettext("more than {time}").format(time=_bound(LAG_BOUNDS_MS[-1]))
    return words.gettext("up to {time}").format(time=_bound(LAG_BOUNDS_MS[number]))


def _bound(milliseconds: int) -> str:
    return format_duration(milliseconds / 1000)


def _percentile(counts: Mapping[int, int], total: int, share: float) -> int:
    """Returns the class that contains this share of the lags."""
    reached = 0
    for number in sorted(counts):
        reached += counts[number]
        if reached >= share * total:
            return number
    return max(counts)


def _added(parts: Iterable[Mapping[int, int]]) -> Counter[int]:
    total: Counter[int] = Counter()
    for part in parts:
        total.update(part)
    return total
