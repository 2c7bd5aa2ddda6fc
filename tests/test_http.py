"""Functions for HTTP that sinks share: statuses, `Retry-After`, safe addresses, repeated reads."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from connector.http import (
    RETRY_AFTER_MAX_SECONDS,
    RETRY_AFTER_MIN_SECONDS,
    ResponseClass,
    SafeUrl,
    classify,
    host_of,
    is_loopback,
    reading,
    retry_after,
    safe_url,
    utc,
)

NOW = 1761566424000


@pytest.mark.parametrize(
    ("status", "answer"),
    [
        (200, ResponseClass.OK),
        (204, ResponseClass.OK),
        (299, ResponseClass.OK),
        (301, ResponseClass.UNCLEAR),
        (400, ResponseClass.REFUSED),
        (401, ResponseClass.DENIED),
        (403, ResponseClass.DENIED),
        (404, ResponseClass.DENIED),
        (407, ResponseClass.DENIED),
        (408, ResponseClass.THROTTLED),
        (410, ResponseClass.DENIED),
        (413, ResponseClass.REFUSED),
        (422, ResponseClass.REFUSED),
        (425, ResponseClass.THROTTLED),
        (429, ResponseClass.THROTTLED),
        (500, ResponseClass.UNCLEAR),
        (503, ResponseClass.UNCLEAR),
        (599, ResponseClass.UNCLEAR),
    ],
)
def test_a_status_says_whether_the_request_was_applied(status, answer):
    assert classify(status) is answer


@given(st.integers())
def test_only_a_2xx_is_a_success(status):
    assert (classify(status) is ResponseClass.OK) == (200 <= status < 300)


# --- Retry-After


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", RETRY_AFTER_MIN_SECONDS),
        ("0.5", RETRY_AFTER_MIN_SECONDS),
        ("30", 30),
        (" 1.5 ", 1.5),
        ("900", 900),
        ("86400", RETRY_AFTER_MAX_SECONDS),
        ("", None),
        ("-1", None),
        ("nan", None),
        ("inf", None),
        ("soon", None),
        ("Mon, 99 Foo 2025", None),
        ("0 Jan 0 0:0:3000000000", None),
    ],
)
def test_the_seconds_asked_for_are_read(text, seconds):
    assert retry_after({"Retry-After": text}, NOW) == seconds


@pytest.mark.parametrize("name", ["retry-after", "RETRY-AFTER", "Retry-After"])
def test_the_header_is_found_in_any_case(name):
    assert retry_after({"date": "x", name: "7"}, NOW) == 7


def test_without_the_header_nothing_is_asked_for():
    assert retry_after({}, NOW) is None


@pytest.mark.parametrize(
    ("ahead", "seconds"),
    [(0, RETRY_AFTER_MIN_SECONDS), (90, 90), (-90, RETRY_AFTER_MIN_SECONDS), (86400, RETRY_AFTER_MAX_SECONDS)],
)
def test_a_date_asks_for_the_time_until_then(ahead, seconds):
    date = format_datetime(utc(NOW) + timedelta(seconds=ahead), usegmt=True)
    assert retry_after({"Retry-After": date}, NOW) == seconds


def test_a_date_without_a_zone_is_utc():
    assert retry_after({"Retry-After": "Mon, 27 Oct 2025 12:01:24 -0000"}, NOW) == 60


@given(st.text())
def test_no_header_raises_or_asks_for_less_than_a_second_or_more_than_a_quarter_of_an_hour(text):
    seconds = retry_after({"Retry-After": text}, NOW)
    assert seconds is None or RETRY_AFTER_MIN_SECONDS <= seconds <= RETRY_AFTER_MAX_SECONDS


# --- addresses


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.8.8.8", "::1"])
def test_these_hosts_are_this_machine(host):
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host", ["", "example.com", "10.0.0.1", "0.0.0.0", "localhost.example.com", "127.0.0.1.nip.io"]
)
def test_these_hosts_are_not(host):
    assert not is_loopback(host)


@pytest.mark.parametrize(
    "url", ["https://slack.com/api/", "http://127.0.0.1:8000", "http://localhost/x", "http://[::1]:80/", "HTTPS://a.b"]
)
def test_credentials_may_be_sent_to_https_and_to_this_machine(url):
    assert safe_url(url) == url


@pytest.mark.parametrize(
    "url",
    [
        "",
        "slack.com",
        "http://slack.com",
        "http://localhost.evil.example",
        "http://127.0.0.1@evil.example/",
        "ftp://localhost",
        "https://",
        "//localhost",
        "file:///etc/passwd",
        "http://[::1",
    ],
)
def test_credentials_are_sent_nowhere_else(url):
    with pytest.raises(ValueError):  # noqa: PT011 - the message of urlsplit for an invalid address differs
        safe_url(url)


def test_a_refused_address_is_not_repeated_in_the_reason():
    with pytest.raises(ValueError, match="must be an https:// address") as refusal:
        safe_url("http://user:hunter2@example.com/T0K3N")
    assert "T0K3N" not in str(refusal.value)
    assert "hunter2" not in str(refusal.value)


def test_a_setting_of_this_type_is_checked():
    adapter = TypeAdapter(SafeUrl)
    assert adapter.validate_python("https://a.b") == "https://a.b"
    with pytest.raises(ValidationError):
        adapter.validate_python("http://a.b")


@pytest.mark.parametrize(
    ("url", "host"), [("https://user:pw@hooks.slack.com:1/services/T/B/X?k=v", "hooks.slack.com"), ("nothing", "?")]
)
def test_only_the_host_is_shown(url, host):
    assert host_of(url) == host


def test_epoch_milliseconds_become_an_aware_time():
    assert utc(NOW + 5) == datetime(2025, 10, 27, 12, 0, 24, 5000, tzinfo=UTC)


# --- reads tried again


class Flaky:
    """Fails a number of times, then answers."""

    def __init__(self, failures, error):
        self.calls = 0
        self._failures = failures
        self._error = error

    def __call__(self):
        self.calls += 1
        if self.calls <= self._failures:
            raise self._error
        return "read"


@pytest.mark.parametrize("failures", [0, 1, 2])
def test_a_read_is_tried_three_times_with_a_short_wait_between(failures):
    waits, flaky = [], Flaky(failures, OSError())
    assert reading(OSError).copy(sleep=waits.append)(flaky) == "read"
    assert (flaky.calls, len(waits)) == (failures + 1, failures)
    assert all(0.1 <= wait <= 0.5 for wait in waits)


def test_the_third_failure_is_raised():
    flaky = Flaky(9, OSError("gone"))
    with pytest.raises(OSError, match="gone"):
        reading(OSError).copy(sleep=lambda _: None)(flaky)
    assert flaky.calls == 3


def test_another_error_is_not_retried():
    flaky = Flaky(1, KeyError())
    with pytest.raises(KeyError):
        reading(OSError)(flaky)
    assert flaky.calls == 1
