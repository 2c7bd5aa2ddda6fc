"""When a value in the decision column is a decision: after it changed and stayed unchanged, by interview and not by
row.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.decision import Decision
from sinks.google_sheets.decision_rules import LARGE, STALE_MS, STILL_MS, SeenTab, choice_of, observe, read_choices

MINUTE = 60_000
TITLE = "Decision"
IDS = [f"i{number}" for number in range(12)]
CELLS = st.sampled_from(["", "Advance", "Hold", "Reject", " advance ", "maybe"])


def tab(values, number=1):
    return SeenTab(number, list(values.items()))


def reads(*seen, start=None, step=MINUTE, at=0):
    """Reads one after the other, a minute apart. Returns the last state and all decisions."""
    state, decided = start, []
    for number, each in enumerate(seen):
        tabs = each if isinstance(each, list) else [tab(each)]
        state, found = observe(state, TITLE, tabs, at + number * step)
        decided += [(choice.interview_id, choice.decision, choice.rows) for choice in found]
        state = read_choices(state.encode())
    return state, decided


def test_a_changed_value_decides_after_two_reads():
    empty, chosen = {"a": ""}, {"a": "Advance"}
    assert reads(empty, chosen)[1] == []
    assert reads(empty, chosen, chosen)[1] == [("a", Decision.SHORTLIST, 0)]
    assert reads(empty, chosen, chosen, chosen)[1] == [("a", Decision.SHORTLIST, 0)]


def test_a_value_must_stand_still_for_thirty_seconds():
    state, _ = reads({"a": ""}, {"a": "Advance"})
    assert observe(state, TITLE, [tab({"a": "Advance"})], MINUTE + STILL_MS - 1)[1] == []
    assert len(observe(state, TITLE, [tab({"a": "Advance"})], MINUTE + STILL_MS)[1]) == 1


def test_only_a_value_that_stays_unchanged_decides():
    assert reads({"a": ""}, {"a": "Advance"}, {"a": "Reject"}, {"a": "Reject"})[1] == [("a", Decision.DISCARD, 0)]
    assert reads({"a": ""}, {"a": "Advance"}, {"a": ""}, {"a": ""})[1] == []


def test_hold_takes_a_decision_back():
    assert reads({"a": "Advance"}, {"a": "Hold"}, {"a": "Hold"})[1] == [("a", Decision.BACK, 0)]


@given(st.dictionaries(st.sampled_from(IDS), CELLS))
def test_the_first_read_decides_nothing(values):
    assert reads(values, values, values)[1] == []


@pytest.mark.parametrize("change", ["title", "time", "clock"])
def test_the_read_after_an_interruption_is_a_baseline(change):
    state, _ = reads({"a": ""})
    now = {"title": MINUTE, "time": STALE_MS + 1, "clock": -MINUTE}[change]
    title = "Choice" if change == "title" else TITLE
    for step in range(3):
        state, decided = observe(state, title, [tab({"a": "Reject"})], now + step * MINUTE)
        assert decided == []


def test_the_first_read_of_a_further_tab_is_a_baseline():
    old, new = tab({"a": ""}, 1), tab({"b": "Reject"}, 2)
    assert reads([old], [old, new], [old, new])[1] == []
    changed = tab({"b": "Advance"}, 2)
    assert reads([old], [old, new], [old, changed], [old, changed])[1] == [("b", Decision.SHORTLIST, 0)]


@given(st.dictionaries(st.sampled_from(IDS), CELLS, min_size=2), st.randoms(use_true_random=False))
def test_sorting_decides_nothing(values, chance):
    order = list(values.items())
    chance.shuffle(order)
    moved = [SeenTab(1, order)]
    assert reads(values, moved, moved)[1] == []


@given(st.dictionaries(st.sampled_from(IDS), CELLS), st.sets(st.sampled_from(IDS)))
def test_rows_that_go_and_come_back_decide_nothing(values, gone):
    rest = {id_: value for id_, value in values.items() if id_ not in gone}
    assert reads(values, rest, rest, values, values)[1] == []


@given(st.integers(1, len(IDS)))
def test_more_than_a_few_changes_at_once_are_marked(count):
    pasted = dict.fromkeys(IDS, "") | dict.fromkeys(IDS[:count], "Reject")
    _, decided = reads(dict.fromkeys(IDS, ""), pasted, pasted)
    assert [rows for _, _, rows in decided] == [count if count > LARGE else 0] * count


def test_a_correction_within_a_large_change_stays_marked():
    pasted = dict.fromkeys(IDS, "Reject")
    corrected = pasted | {IDS[0]: "Advance"}
    _, decided = reads(dict.fromkeys(IDS, ""), pasted, corrected, corrected)
    assert (IDS[0], Decision.SHORTLIST, len(IDS)) in decided


def test_rows_of_one_interview_that_differ_decide_nothing():
    twice = [SeenTab(1, [("a", "Advance"), ("a", "Reject")])]
    assert reads({"a": "Advance"}, twice, twice, {"a": "Reject"}, {"a": "Reject"})[1] == []
    assert reads(twice, {"a": "Reject"}, {"a": "Reject"})[1] == []


def test_rows_of_one_interview_that_agree_decide_once():
    twice = [SeenTab(1, [("a", "Advance"), ("a", "Advance")])]
    assert reads({"a": ""}, twice, twice)[1] == [("a", Decision.SHORTLIST, 0)]


@given(st.lists(st.dictionaries(st.sampled_from(IDS[:4]), CELLS, min_size=4, max_size=4), min_size=1, max_size=8))
def test_every_decision_is_the_present_value_and_follows_a_change(seen):
    state = None
    for number, values in enumerate(seen):
        before = {} if state is None else state.known
        state, decided = observe(state, TITLE, [tab(values)], number * MINUTE)
        for choice in decided:
            present = choice_of(values[choice.interview_id])
            assert state.known[choice.interview_id] == present != before.get(choice.interview_id, "")


def test_an_erased_interview_is_forgotten():
    state, _ = reads({"a": "Advance", "b": ""}, {"a": "Advance", "b": "Hold"})
    left = state.without({"a", "b"}).encode()
    assert (left["known"], left["fresh"]) == ({}, {})


@pytest.mark.parametrize(
    ("text", "choice"),
    [("Advance", "Advance"), (" AVANZAR ", "Advance"), ("Descartar", "Reject"), ("yes", "?"), ("", "")],
)
def test_a_choice_counts_in_every_language(text, choice):
    assert choice_of(text) == choice
