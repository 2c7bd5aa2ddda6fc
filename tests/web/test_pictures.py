"""The charts of the pages: pure functions from counts to shapes."""

from __future__ import annotations

import gzip
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.interview import STAGE_COLOURS, Stage
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
from connector.web.dashboard.pages import static_files

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


# --- colours

GRAPHICS_MIN, TEXT_MIN = 3.0, 4.5
"""Least contrast of graphics and of text: WCAG 2.2, 1.4.11 and 1.4.3 (level AA)."""


def contrast(one, other):
    """The contrast of two colours (RRGGBB), as WCAG 2.2 defines it."""

    def luminance(colour):
        parts = [int(colour[start : start + 2], 16) / 255 for start in (0, 2, 4)]
        red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    low, high = sorted(map(luminance, (one, other)))
    return (high + 0.05) / (low + 0.05)


def style_sheet():
    return gzip.decompress(static_files()["app.css"]).decode()


def backgrounds():
    """The backgrounds of pages, for light and dark."""
    found = re.findall(r"--(?:paper|ground|soft): light-dark\(#(\w+), #(\w+)\)", style_sheet())
    assert len(found) == 3
    return [[part * (6 // len(part)) for part in pair] for pair in found]


@pytest.mark.parametrize("stage", Stage)
def test_the_mark_of_a_stage_has_enough_contrast_on_light_and_dark_pages(stage):
    colours = STAGE_COLOURS[stage]
    for light, dark in backgrounds():
        assert contrast(colours.light, light) >= GRAPHICS_MIN
        assert contrast(colours.dark, dark) >= GRAPHICS_MIN


@pytest.mark.parametrize("stage", Stage)
def test_pages_show_a_stage_in_the_colour_of_the_table(stage):
    _, light, dark = STAGE_COLOURS[stage]
    assert f".stage-{stage} {{ --stage: light-dark(#{light}, #{dark}); }}" in style_sheet()


@pytest.mark.parametrize("colour", [each.cell for each in STAGE_COLOURS.values() if each.cell])
def test_black_text_is_readable_in_a_cell_with_the_colour_of_a_stage(colour):
    assert contrast(colour, "000000") >= TEXT_MIN


def test_no_two_stages_have_the_same_colour():
    for kind in zip(*STAGE_COLOURS.values(), strict=True):
        assert len({*kind}) == len(STAGE_COLOURS)
