"""Which corrections of users are cells that were moved to other rows."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sinks.spreadsheet.comparison import moved_rows


def names(*shown_and_due):
    return {str(row): {"candidate_name": pair} for row, pair in enumerate(shown_and_due)}


@given(st.permutations(range(8)))
def test_a_permutation_of_three_or_more_values_is_a_move(order):
    changed = {str(row): {"candidate_name": (shown, row)} for row, shown in enumerate(order) if shown != row}
    assert moved_rows(changed) == (set(changed) if len(changed) > 2 else set())


@pytest.mark.parametrize(
    "corrections",
    [
        {},
        names(("Ana", "Anna")),
        names(("Ana", "Bob"), ("Bob", "Ana")),
        names(("Ana", "Anna"), ("Bob", "Bop"), ("Eve", "Eva"), ("Ada", "Adda")),
        names(("Ana", "A"), ("Ana", "B"), ("Ana", "C")),
    ],
)
def test_corrections_of_users_are_no_moves(corrections):
    assert moved_rows(corrections) == set()


def test_a_correction_beside_moved_cells_is_none_of_them():
    corrections = names(("B", "A"), ("C", "B"), ("A", "C"), ("Zoë", "Zoe"))
    assert moved_rows(corrections) == {"0", "1", "2"}
