"""How a row that Google does not take is found."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sinks.google_sheets.flush import MOST, Narrowing, Verdict


@given(st.integers(1, 400), st.sets(st.integers(0, 399)))
def test_exactly_the_poisoned_rows_are_given_up_and_the_search_ends(count, poisoned):
    narrowing, left, given_up, calls = Narrowing(), list(range(count)), set(), 0
    while left:
        calls += 1
        part = left[: narrowing.rows]
        if not poisoned.isdisjoint(part):
            if narrowing.refused(len(part)) is Verdict.POISON:
                given_up |= {left.pop(0)}
        else:
            narrowing.taken(len(part))
            left = left[len(part) :]
    assert given_up == poisoned & set(range(count))
    assert calls <= 20 + 24 * len(given_up)


def test_when_not_even_an_empty_write_is_taken_it_is_no_row_s_fault():
    narrowing = Narrowing()
    assert narrowing.refused(5) is Verdict.SMALLER
    assert narrowing.refused(2) is Verdict.SMALLER
    assert narrowing.refused(1) is Verdict.SMALLER
    assert (narrowing.rows, narrowing.refused(0)) == (0, Verdict.EVERYTHING)


def test_a_row_refused_before_the_empty_write_was_tried_is_not_given_up():
    assert Narrowing().refused(1) is Verdict.SMALLER


def test_it_grows_back_to_everything():
    narrowing = Narrowing(rows=1)
    for _ in range(20):
        narrowing.taken(1)
    assert narrowing.rows == MOST
