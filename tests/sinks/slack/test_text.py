"""Rules for text from outside."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sinks.chat.text import clean, cut, units
from sinks.slack.messages import date, escape, literal, safe
from tests.sinks.slack.hostile import hostile_text


def readable(text: str) -> str:
    """What Slack shows of an escaped text."""
    return text.replace("\u2060", "").replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


modest = settings(max_examples=150, deadline=None)
sizes = st.integers(min_value=1, max_value=200)


@modest
@given(hostile_text, sizes)
def test_safe_text_is_short_one_line_and_holds_no_control_sequence(text: str, most: int) -> None:
    result = safe(text, most)
    assert units(result) <= most
    assert not set("<>\n\r") & set(result)
    assert {unicodedata.category(c) for c in result} & {"Cc", "Cs", "Zl", "Zp"} == set()


@modest
@given(hostile_text, sizes)
def test_no_entity_is_cut_in_half(text: str, most: int) -> None:
    result = safe(text, most)
    rest = result.replace("&amp;", "").replace("&lt;", "").replace("&gt;", "")
    assert "&" not in rest


@modest
@given(hostile_text)
def test_cleaning_twice_is_cleaning_once(text: str) -> None:
    assert clean(clean(text, 80), 80) == clean(text, 80)


@modest
@given(hostile_text)
def test_a_reader_sees_the_cleaned_text_again(text: str) -> None:
    assert readable(literal(escape(clean(text, 80)))) == clean(text, 80)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("  Wayne\t\n Knight ", "Wayne Knight"),
        ("a\u202eb\u2066c", "abc"),
        ("e\u0301", "é"),
        ("\u200d", ""),
        ("👩\u200d🚀", "👩\u200d🚀"),
        ("a\x00b\u2028c", "ab c"),
    ],
)
def test_cleaning_examples(text: str, expected: str) -> None:
    assert clean(text, 80) == expected


@pytest.mark.parametrize(
    ("text", "most", "expected"),
    [("abcdef", 6, "abcdef"), ("abcdefg", 6, "abcde…"), ("😀😀😀", 5, "😀😀…")],
)
def test_cutting_examples(text: str, most: int, expected: str) -> None:
    assert cut(text, most) == expected


def test_an_entity_is_removed_where_it_would_be_cut() -> None:
    assert safe("ab&cd", 6) == "ab…"


def test_ampersands_are_escaped_first() -> None:
    assert escape("<&>&lt;") == "&lt;&amp;&gt;&amp;lt;"


def test_a_date_is_a_token_in_seconds_with_a_utc_fallback() -> None:
    token = "<!date^1683705149^{date_short_pretty}, {time}|2023-05-10 07:52 UTC>"
    assert date(1_683_705_149_611) == token


@pytest.mark.parametrize("at", [-1, 10**18])
def test_a_date_outside_the_calendar_is_unknown(at: int) -> None:
    assert date(at) == "?"
