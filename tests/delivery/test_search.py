"""Interviews are found by the beginnings of words in the candidate's name and e-mail address."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.store import words
from connector.store.words import WORD_LENGTH_MAX, WORDS_MAX, fold, words_of
from connector.testing import START

PEOPLE = {
    "i1": {"name": "Zoë O'Hara-Núñez", "email": "Zoe.Hara@Example.org"},
    "i2": {"name": "Łukasz Straße", "email": "lukasz@example.org"},
    "i3": {"name": "王小明", "email": "ming@other.example"},
}


@pytest.fixture
async def search(rig_of):
    rig = await rig_of()
    for id_, candidate in PEOPLE.items():
        await rig.event(interview=id_, candidate=candidate)

    async def find(text):
        return sorted(await rig.store.query(lambda connection: words.find_interviews(connection, text)))

    find.rig = rig
    return find


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("zoe", ["i1"]),
        ("ZOË nún", ["i1"]),
        ("o'hara", ["i1"]),
        ("hara-nunez", ["i1"]),
        ("zoe.hara@exa", ["i1"]),
        ("zoe.h", ["i1"]),
        ("lukasz strasse", ["i2"]),
        ("王", ["i3"]),
        ("zoe strasse", []),
        ("hara%", ["i1"]),
        ("_", []),
        ("", []),
        ("ara", []),
    ],
)
async def test_the_beginning_of_each_word_counts_without_case_and_accents(search, text, found):
    assert await search(text) == found


async def test_a_changed_name_is_found_and_the_old_one_is_not(search):
    await search.rig.event("interview.score-updated", interview="i1", at=START + 1, candidate={"name": "Zoë Smith"})
    assert (await search("smith"), await search("nunez"), await search("zoe")) == (["i1"], [], ["i1"])


async def test_an_event_without_a_new_name_changes_no_word(search):
    await search.rig.event("interview.score-updated", interview="i1", at=START + 1, score=3)
    assert await search("nunez") == ["i1"]


async def test_missing_words_are_written_for_all_interviews(search):
    """As the migration does for the interviews of an earlier version."""
    await search.rig.store.write(lambda connection: connection.exec_driver_sql("DELETE FROM interview_word"))
    assert await search("zoe") == []
    await search.rig.store.write(words.write_all)
    assert await search("zoe") == ["i1"]


@given(st.text())
def test_folding_twice_changes_nothing(text):
    assert fold(fold(text)) == fold(text)


@given(st.text(), st.text())
def test_the_words_of_an_interview_are_few_and_short(name, email):
    found = words_of({"candidate_name": name * 50, "candidate_email": email * 50})
    assert len(found) <= WORDS_MAX
    assert all(0 < len(word) <= WORD_LENGTH_MAX for word in found)
