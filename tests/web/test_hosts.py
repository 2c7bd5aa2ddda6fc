"""Which Host headers are trusted."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.web.hosts import TrustedHosts, name_of
from tests.serving import CONSOLE_ONLY, sample, serving

HOSTS = ["hooks.example.com:443", "*.example.org", "[2001:db8::1]", "www.example.net"]
TOML = CONSOLE_ONLY + '\n[server]\ntrusted_hosts = ["www.hooks.example.com"]\nport = 0\n'


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
        "[::1]:8000",
    ],
)
def test_a_configured_name_and_this_machine_are_trusted_whatever_the_port(host):
    assert TrustedHosts(HOSTS).accept(host)


@pytest.mark.parametrize(
    "host",
    [
        "",
        "evil.example.com",
        "hooks.example.com.evil.org",
        "example.org",
        "badexample.org",
        "example.net",
        "localhost.evil.org",
        "127.0.0.1.evil.org",
        "127.0.0.1:8000@evil.org",
        "evil.org/127.0.0.1",
        "evil.org localhost",
        "10.0.0.1",
        "[::2]",
        "[::1",
        "[]",
    ],
)
def test_any_other_is_not(host):
    assert not TrustedHosts(HOSTS).accept(host)


def test_a_star_trusts_every_name_but_not_none():
    assert TrustedHosts(["*"]).accept("any.example.com:1")
    assert not TrustedHosts(["*"]).accept("")


@given(st.text())
def test_no_header_breaks_it(host):
    """A name holds no character that parts an address, and without a name nothing is trusted."""
    name = name_of(host)
    assert not set(name) & set("/@?# []")
    assert TrustedHosts(["*"]).accept(host) == bool(name)


async def test_another_host_is_refused_counted_and_leads_nowhere(tmp_path):
    """Not even the name without its www is sent elsewhere."""
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
