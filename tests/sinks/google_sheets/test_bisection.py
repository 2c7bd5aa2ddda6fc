"""How the row that Google refuses is found."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sinks.google_sheets.flush import ROWS_MAX, Bisection, BisectionResult


@given(st.integers(1, 400), st.sets(st.integers(0, 399)))
def test_exactly_the_poisoned_rows_are_given_up_and_the_search_ends(count, poisoned):
    bisection, left, given_up, calls = Bisection(), list(range(count)), set(), 0
    while left:
        calls += 1
        part = left[: bisection.rows]
        if not poisoned.isdisjoint(part):
            if bisection.refused(len(part)) is BisectionResult.BAD_ROW:
                given_up |= {left.pop(0)}
        else:
            bisection.taken(len(part))
            left = left[len(part) :]
    assert given_up == poisoned & set(range(count))
    assert calls <= 20 + 24 * len(given_up)


def test_when_not_even_an_empty_write_is_taken_it_is_no_row_s_fault():
    bisection = Bisection()
    assert bisection.refused(5) is BisectionResult.SMALLER
    assert bisection.refused(2) is BisectionResult.SMALLER
    assert bisection.refused(1) is BisectionResult.SMALLER
    assert (bisection.rows, bisection.refused(0)) == (0, BisectionResult.ANY_WRITE)


def test_a_row_refused_before_the_empty_write_was_tried_is_not_given_up():
    assert Bisection().refused(1) is BisectionResult.SMALLER


def test_it_grows_back_to_everything():
    bisection = Bisection(rows=1)
    for _ in range(20):
        bisection.taken(1)
    assert bisection.rows == ROWS_MAX
