"""The address that a process listens on, and the error when it cannot be used."""

from __future__ import annotations

import socket

import pytest

from connector.errors import UsageError
from connector.web.server import base_address, bind


def test_port_0_is_any_free_port():
    with bind("127.0.0.1", 0) as one, bind("127.0.0.1", 0) as other:
        assert base_address(one) != base_address(other)
        with socket.create_connection(one.getsockname()):
            pass


def test_an_ipv6_address_is_in_brackets():
    try:
        listener = bind("::1", 0)
    except UsageError:
        pytest.skip("this machine has no IPv6")
    with listener:
        assert base_address(listener) == f"http://[::1]:{listener.getsockname()[1]}"


@pytest.mark.parametrize(
    ("host", "advice"),
    [
        ("127.0.0.1", "another program uses the port"),
        ("192.0.2.1", r"the address does not belong to this machine; set \[server\] host"),
        ("no-such-host.invalid", r"the name has no address; set \[server\] host"),
    ],
)
def test_an_address_that_cannot_be_used_is_refused_with_advice(host, advice):
    """192.0.2.1 is reserved for documentation (RFC 5737)."""
    with (
        bind("127.0.0.1", 0) as taken,
        pytest.raises(UsageError, match=rf"cannot listen on {host}:\d+: {advice}"),
    ):
        bind(host, taken.getsockname()[1])
