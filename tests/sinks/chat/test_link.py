"""The addresses that a button may open."""

from __future__ import annotations

import pytest
from hypothesis import given

from sinks.chat.content import trusted_link
from tests.sinks.slack.hostile import hostile_text

HOSTS = ("hireflix.com", "hflx.io")


@pytest.mark.parametrize(
    "url", ["https://admin.hireflix.com/jobs/1/interview/2", "https://hflx.io/c/x?y=1&z=%20", "https://HIREFLIX.com/"]
)
def test_hireflix_addresses_pass_unchanged(url: str) -> None:
    assert trusted_link(url, HOSTS) == url


@pytest.mark.parametrize(
    "url",
    [
        "http://admin.hireflix.com/",
        "javascript:alert(1)//hireflix.com",
        "https://evil.example/hireflix.com",
        "https://evilhireflix.com/",
        "https://hireflix.com.evil.example/",
        "https://hireflix.com@evil.example/",
        "https://evil.example\\@hireflix.com/",
        "https://user@hireflix.com/",
        "https://hireflix.com:8443/",
        "https://hireflix.com/a\nb",
        "https://[::1",
        "//hireflix.com/",
        "https://hireflix.com/" + "x" * 3000,
        "",
    ],
)
def test_anything_else_is_no_link(url: str) -> None:
    assert trusted_link(url, HOSTS) is None


def test_a_blank_is_encoded_once() -> None:
    encoded = "https://admin.hireflix.com/jobs/a%20b/interview/1"
    assert trusted_link("https://admin.hireflix.com/jobs/a b/interview/1", HOSTS) == encoded
    assert trusted_link(encoded, HOSTS) == encoded


def test_what_could_end_a_slack_link_is_encoded() -> None:
    assert trusted_link('https://hireflix.com/a|b<c>d"e', HOSTS) == "https://hireflix.com/a%7Cb%3Cc%3Ed%22e"


@given(hostile_text)
def test_no_path_can_smuggle_a_control_sequence(text: str) -> None:
    url = trusted_link(f"https://hireflix.com/{text}", HOSTS)
    assert url is None or (url.isascii() and not set(' <>|"\n') & set(url))
