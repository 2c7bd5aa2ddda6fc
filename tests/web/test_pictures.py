"""The charts of the pages: pure functions from counts to shapes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from connector.languages import language
from connector.web.dashboard.charts import (
    CHART_HEIGHT,
    HALF_HOURS,
    LAG_BOUNDS_MS,
    LAG_HEIGHT,
    SinkArrow,
    activity,
    flow,
    lag_chart,
    lag_text,
    stacked,
)

ENGLISH = language("en")
CLASSES = st.integers(0, len(LAG_BOUNDS_MS))


@given(
    st.dictionaries(
        st.integers(0, HALF_HOURS - 1), st.dictionaries(st.sampled_from(["ok", "bad"]), st.integers(0, 10**6))
    )
)
def test_an_activity_chart_has_one_bar_per_half_hour_within_its_height(counts):
    chart = activity(counts, 0, ENGLISH)
    assert len(chart.bars) == HALF_HOURS
    assert all(bar.y >= -1e-9 and abs(bar.y + bar.height - CHART_HEIGHT) < 1e-6 for bar in chart.bars)


@given(st.lists(st.integers(0, 10**7), max_size=30))
def test_each_sink_has_an_arrow_that_a_long_queue_makes_wider(queues):
    shapes = flow([SinkArrow(str(number), "ok", "in sync", queue) for number, queue in enumerate(queues)], ENGLISH)
    assert len(shapes.lanes) == len(queues)
    ordered = sorted(shapes.lanes, key=lambda shape: shape.lane.pending)
    assert [shape.width for shape in ordered] == sorted(shape.width for shape in ordered)
    assert all(0 < shape.y < shapes.height for shape in shapes.lanes)


@given(st.dictionaries(st.sampled_from("abc"), st.integers(1, 1000), min_size=1))
def test_the_parts_of_a_bar_add_up(counts):
    parts = stacked(counts, sum(counts.values()))
    assert abs(sum(part.width for part in parts) - 100) < 0.1
    assert [part.count for part in parts] == list(counts.values())


@given(st.dictionaries(st.integers(0, HALF_HOURS - 1), st.dictionaries(CLASSES, st.integers(1, 10**6), min_size=1)))
def test_a_bar_of_lags_reaches_from_the_median_to_the_percentile_within_the_picture(counts):
    chart = lag_chart(counts, 0, ENGLISH)
    assert len(chart.bars) == len(chart.rows) == len(counts)
    assert all(bar.height > 0 and bar.y >= 0 and bar.y + bar.height <= LAG_HEIGHT for bar in chart.bars)
    assert [total for *_, total in chart.rows] == [sum(counts[at].values()) for at in sorted(counts)]


@given(st.lists(CLASSES, min_size=1, max_size=200))
def test_the_median_and_the_percentile_are_those_of_the_lags(lags):
    (row,) = lag_chart({0: {each: lags.count(each) for each in lags}}, 0, ENGLISH).rows
    ordered = sorted(lags)
    assert row[1] == lag_text(ordered[-(-len(lags) // 2) - 1], ENGLISH)
    assert row[2] == lag_text(ordered[-(-len(lags) * 95 // 100) - 1], ENGLISH)
