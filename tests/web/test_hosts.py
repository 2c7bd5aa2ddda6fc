"""Which Host headers are allowed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from litestar import get
from litestar.testing import AsyncTestClient

from connector.web.app import create_app, host_name
from tests.serving import CONSOLE_ONLY, SECRET, sample, serving

HOSTS = ["hooks.example.com:443", "*.example.org", "[2001:db8::1]", "www.example.net"]
TOML = CONSOLE_ONLY + '\n[server]\ntrusted_hosts = ["www.hooks.example.com"]\nport = 0\n'


@get("/", sync_to_thread=False)
def hello() -> str:
    return "hello"


async def answers(hosts, host):
    """The status of a request with this Host header, and what was counted as refused."""
    refused = []
    async with AsyncTestClient(create_app([hello], hosts, refused.append)) as client:
        answer = await client.get("/", headers={"host": host}, follow_redirects=False)
    assert "location" not in answer.headers
    return answer.status_code, refused


@pytest.mark.parametrize(
    "host",
    [
        "hooks.example.com",
        "HOOKS.example.com:8443",
        "a.example.org",
        "a.b.example.org:1",
        "[2001:DB8::1]:8000",
        "localhost",
        "localhost:8000",
        "127.0.0.1:49152",
        "127.0.0.53",
        "[::1]:8000",
    ],
)
async def test_a_configured_name_and_loopback_are_allowed_with_any_port(host):
    assert await answers(HOSTS, host) == (200, [])


@pytest.mark.parametrize(
    "host",
    [
        "",
        "evil.example.com",
        "hooks.example.com.evil.org",
        "hooks-example.com",
        "example.org",
        "badexample.org",
        "example.net",
        "localhost.evil.org",
        "127.0.0.1.evil.org",
        "127.0.0.1:8000@evil.org",
        "10.0.0.1",
        "[::2]",
        "[::1",
        "[]",
    ],
)
async def test_any_other_host_is_refused_and_counted(host):
    assert await answers(HOSTS, host) == (400, ["host"])


@pytest.mark.parametrize("hosts", [["*"], []])
async def test_a_star_or_nothing_allows_every_name(hosts):
    assert await answers(hosts, "any.example.com:1") == (200, [])


@pytest.mark.parametrize("host", ["evil.org/127.0.0.1", "evil.org localhost", "[::1", "127.0.0.1:8000@evil.org", ""])
def test_an_invalid_header_has_no_name(host):
    assert host_name(host) == ""


@given(st.text(max_size=20))
def test_a_name_contains_no_delimiter_of_a_url(host):
    assert not set(host_name(host)) & set("/@?# []")


async def test_another_host_is_refused_counted_and_not_redirected(tmp_path):
    """A name without its www is not redirected either."""
    async with serving(tmp_path, TOML) as served:
        for host in ("evil.example.com", "hooks.example.com"):
            answer = await served.post(sample("create"), host=host)
            assert (answer.status_code, "location" in answer.headers) == (400, False)
        assert (await served.client.get(f"{served.url}/health/live", headers={"host": "x"})).status_code == 400
        metrics = (await served.get("/metrics")).text
    assert 'connector_requests_refused_total{reason="host"} 3.0' in metrics


async def test_the_configured_host_and_probes_of_this_machine_are_served(tmp_path):
    async with serving(tmp_path, TOML) as served:
        assert (await served.post(sample("create"), host="www.hooks.example.com:443")).status_code == 202
        assert (await served.post(sample("finish"))).status_code == 202
        assert (await served.get("/health/ready")).status_code == 200


async def test_an_event_that_is_too_old_does_not_count_as_a_refused_host(tmp_path):
    """Both are answered with 400."""
    toml = f'{TOML}\n[hireflix]\nwebhook_secrets = ["{SECRET}"]\ntolerance_days = 7\n'
    async with serving(tmp_path, toml) as served:
        assert (await served.post(sample("create") | {"date": 1_600_000_000_000})).status_code == 400
        metrics = (await served.get("/metrics")).text
    assert 'connector_requests_refused_total{reason="too old"} 1.0' in metrics
    assert 'reason="host"' not in metrics
