"""The payloads that come with the package: as documented, and made up."""

import json
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connector.hireflix import EVENT_NAMES, samples
from connector.hireflix.payload import EventKind, read
from connector.hireflix.samples import HOSTILE, POSITIONS, stream
from tests.cli.world import NOON

DOCUMENTED = Path(__file__).parents[1] / "samples"


def test_there_is_a_sample_of_every_event():
    assert set(samples.names()) == EVENT_NAMES


@pytest.mark.parametrize("name", samples.names())
def test_a_sample_is_what_is_documented(name):
    assert samples.sample(name) == (DOCUMENTED / f"{name}.json").read_bytes()


@pytest.mark.parametrize("name", samples.names())
def test_a_dated_sample_is_the_same_event_of_today(name):
    """Every time moves by as much as the date, nothing else changes."""
    was, now = json.loads(samples.sample(name)), json.loads(samples.dated(samples.sample(name), NOON))
    shift = NOON - was["date"]
    assert now["date"] == NOON
    for key, value in was["data"].items():
        moved = value + shift if key in {"createdAt", "completed", "deleted"} and value is not None else value
        assert now["data"][key] == moved


def test_a_name_that_is_no_sample():
    with pytest.raises(KeyError):
        samples.sample("../__init__")


def test_a_stream_is_the_same_for_the_same_seed():
    assert list(stream(50, NOON, 3)) == list(stream(50, NOON, 3))
    assert list(stream(50, NOON, 3)) != list(stream(50, NOON, 4))


@settings(max_examples=25)
@given(count=st.integers(1, 200), seed=st.integers(0, 10**6))
def test_a_stream_has_its_length_and_only_readable_events(count, seed):
    readings = [read(body, NOON) for body in stream(count, NOON, seed)]
    assert len(readings) == count
    assert {reading.kind for reading in readings} == {EventKind.EVENT}


def test_a_long_stream_has_everything_in_it():
    """All events and positions, repeats, late ones, letters of many scripts, and names that mean harm."""
    readings = [read(body, NOON) for body in stream(2000, NOON)]
    assert {reading.name for reading in readings} == EVENT_NAMES
    assert {reading.fields["position_id"] for reading in readings} == {position for position, _ in POSITIONS}
    assert Counter(Counter(reading.identity for reading in readings).values())[2] > 50
    dates = [reading.occurred_at for reading in readings]
    assert sum(later < earlier for earlier, later in pairwise(dates)) > 50
    names = {str(reading.fields["candidate_name"]) for reading in readings}
    assert any("李" in name for name in names)
    assert set(HOSTILE) <= names


def test_a_stream_ends_about_now():
    """So that the newest rows look new."""
    last = read(list(stream(500, NOON))[-1], NOON)
    assert abs(NOON - last.occurred_at) < 3_600_000
