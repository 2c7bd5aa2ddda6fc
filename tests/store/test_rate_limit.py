"""Rate tokens: all users of a bucket together never get more than the burst and the rate allow."""

from __future__ import annotations

import sqlite3
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connector.errors import RateLimited
from connector.sink import Token
from connector.store import rate_limit
from connector.store.sqlite import database
from connector.testing import START
from tests.store.kit import memory


def takes(connection, *wanted, now=START):
    """Whether the tokens were available."""
    try:
        rate_limit.take(connection, wanted, now)
    except RateLimited:
        return False
    return True


def wait_of(connection, *wanted, now=START):
    with pytest.raises(RateLimited) as caught:
        rate_limit.take(connection, wanted, now)
    return caught.value.bucket, caught.value.seconds


rates = st.sampled_from([0.1, 1, 3, 5, 300 / 60, 7.5, 100])
bursts = st.integers(1, 12)
waits = st.lists(st.integers(0, 3000), min_size=1, max_size=40)


@settings(max_examples=60, deadline=None)
@given(rates, bursts, waits)
def test_never_more_than_burst_and_rate(rate, burst, pauses):
    """In any window of t seconds at most burst + rate * t tokens are given."""
    with memory() as connection:
        now, given_at = START, []
        for pause in pauses:
            now += pause
            if takes(connection, Token("b", rate, burst), now=now):
                given_at.append(now)
        for first in range(len(given_at)):
            for last in range(first, len(given_at)):
                assert last - first + 1 <= burst + rate * (given_at[last] - given_at[first]) / 1000 + 1e-9


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([0.5, 1, 2, 5, 10]), bursts, waits)
def test_the_same_tokens_as_a_simple_token_bucket(rate, burst, pauses):
    """A simple token bucket gives the same answers."""
    with memory() as connection:
        now, jar = START, float(burst)
        for pause in pauses:
            now += pause
            jar = min(burst, jar + rate * pause / 1000)
            given_one = jar >= 1 - 1e-9
            jar -= given_one
            assert takes(connection, Token("b", rate, burst), now=now) == given_one


@settings(max_examples=60, deadline=None)
@given(rates, bursts, waits)
def test_a_token_is_available_at_the_returned_time(rate, burst, pauses):
    """A token is available at the returned time, and not before."""
    with memory() as connection:
        now = START
        for pause in pauses:
            now += pause
            try:
                rate_limit.take(connection, [Token("b", rate, burst)], now)
            except RateLimited as wait:
                now += round(wait.seconds * 1000)
                assert rate_limit.blocked_until(connection, "b") == now
                assert not takes(connection, Token("b", rate, burst), now=now - 1)
                assert takes(connection, Token("b", rate, burst), now=now)


# --- several buckets


def test_all_or_nothing(connection):
    """When one bucket is empty, the others keep their tokens."""
    narrow, wide = Token("narrow", 1), Token("wide", 1, 2)
    assert takes(connection, narrow, wide)
    assert not takes(connection, narrow, wide)
    assert takes(connection, wide)
    assert not takes(connection, wide)


def test_the_wait_names_the_bucket_that_opens_last(connection):
    """A wait for another one would not be enough."""
    minute, second = Token("minute", 1 / 60), Token("second", 1)
    rate_limit.take(connection, [minute, second], START)
    assert wait_of(connection, second, minute, now=START + 500) == ("minute", 59.5)
    assert wait_of(connection, minute, second, now=START + 500) == ("minute", 59.5)


def test_two_tokens_of_one_bucket(connection):
    """They count as two. When only one is available, none is taken."""
    one = Token("b", 1, 3)
    assert takes(connection, one, one)
    assert not takes(connection, one, one)
    assert takes(connection, one)


def test_no_tokens_is_always_allowed(connection):
    """A sink without limits waits for nothing."""
    assert takes(connection)


def test_buckets_do_not_share(connection):
    """Another name is another limit."""
    assert takes(connection, Token("a", 1))
    assert takes(connection, Token("b", 1))


# --- closing


@pytest.mark.parametrize("used_before", [True, False])
@pytest.mark.parametrize("burst", [1, 10])
def test_a_closed_bucket_gives_nothing_until_it_opens(connection, used_before, burst):
    """With any burst, and also when it was not used before. Then it starts with one token."""
    token = Token("b", 1, burst)
    if used_before:
        rate_limit.take(connection, [token], START)
    rate_limit.block(connection, "b", 30, START)
    assert rate_limit.blocked_until(connection, "b") == START + 30_000
    assert not takes(connection, token, now=START + 29_999)
    assert takes(connection, token, now=START + 30_000)


def test_after_a_closing_there_is_no_burst(connection):
    """The destination has just refused a call for its rate."""
    token = Token("b", 1, 5)
    rate_limit.take(connection, [token], START)
    rate_limit.block(connection, "b", 30, START)
    assert takes(connection, token, now=START + 30_000)
    assert not takes(connection, token, now=START + 30_001)


def test_a_longer_closing_stays(connection):
    """A second 429 with a shorter delay does not shorten the first."""
    rate_limit.block(connection, "b", 60, START)
    rate_limit.block(connection, "b", 1, START)
    assert rate_limit.blocked_until(connection, "b") == START + 60_000


def test_an_unused_bucket_is_open(connection):
    """Its opening time is 0."""
    assert rate_limit.blocked_until(connection, "b") == 0


# --- two processes


def test_two_connections_share_one_bucket(path):
    """Two threads with a connection each get together what one would get."""
    token = Token("b", 0.001, 20)
    got = []

    def taker():
        raw = sqlite3.connect(path, isolation_level=None, timeout=30)
        connection = database.through_sqlalchemy(raw)
        for _ in range(20):
            raw.execute("BEGIN IMMEDIATE")
            got.append(takes(connection, token))
            raw.execute("COMMIT")
        connection.close()
        raw.close()

    threads = [threading.Thread(target=taker) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 40
    assert sum(got) == 20
