"""Limits on the memory and the time that an unauthenticated client can use; every failure is visible."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager

import httpx
import pytest
from litestar.exceptions import HTTPException
from structlog.processors import add_log_level
from structlog.testing import capture_logs

from connector.errors import StoreUnavailable
from connector.hireflix.signature import HEADER, Verifier
from connector.logging import masked, with_exception
from connector.web.health import HealthChecks
from connector.web.metrics import Metrics
from connector.web.receiver import (
    BODY_BYTES,
    CLIENTS_BYTES,
    LINGER_BYTES,
    Bodies,
    Disconnected,
    Receiver,
    Refused,
    client_of,
    timed_bodies,
)
from tests.serving import serving

HONEST = "198.51.100.7"
GREEDY = "203.0.113.9"


def streaming(*parts, then=None):
    """A sender that sends these parts one by one and then waits, or disconnects."""
    messages = [{"type": "http.request", "body": part, "more_body": True} for part in parts]

    async def receive():
        if messages:
            return messages.pop(0)
        if then is not None:
            return then
        return await asyncio.get_running_loop().create_future()

    return receive


GONE = {"type": "http.disconnect"}
END = {"type": "http.request", "body": b"", "more_body": False}


def scope(client=HONEST, headers=()):
    return {"client": (client, 1), "headers": list(headers)}


async def reason(bodies, *parts, then=None, client=HONEST, headers=()):
    with pytest.raises(Refused) as caught:
        await bodies.read(scope(client, headers), streaming(*parts, then=then))
    return caught.value.reason


@asynccontextmanager
async def held(bodies, *parts, client=HONEST):
    """A client that sends these parts and then nothing until the end of the block."""
    sender = asyncio.create_task(bodies.read(scope(client), streaming(*parts)))
    for _ in parts:
        await asyncio.sleep(0)
    yield sender
    sender.cancel()
    await asyncio.gather(sender, return_exceptions=True)


@pytest.mark.parametrize("parts", [[], [b"{"]])
async def test_a_body_that_stops_arriving_is_ended(parts):
    assert await reason(Bodies(stall_seconds=0.01), *parts) == "too slow"


async def test_a_body_that_arrives_too_slowly_is_ended():
    """Single bytes extend the time only up to the limit for the whole body."""

    async def drip():
        await asyncio.sleep(0.001)
        return {"type": "http.request", "body": b"{", "more_body": True}

    with pytest.raises(Refused, match="too slow"):
        await Bodies(stall_seconds=5, body_seconds=0.05).read(scope(), drip)


async def test_one_client_cannot_use_the_share_of_another():
    bodies = Bodies(client_bytes=100)
    async with held(bodies, b"x" * 100, client=GREEDY):
        assert await reason(bodies, b"y", client=GREEDY) == "overloaded"
        assert await bodies.read(scope(), streaming(b"y" * 100, then=END)) == b"y" * 100


async def test_many_clients_together_stay_close_to_the_limit():
    """Above the limit each client has only an equal share."""
    bodies, clients, part = Bodies(), 40, b"x" * BODY_BYTES

    async def fill(stack, client):
        for _ in range(4):
            await stack.enter_async_context(held(bodies, part[:-1], client=client))

    async with AsyncExitStack() as stack:
        for number in range(clients):
            await fill(stack, f"203.0.113.{number}")
        assert bodies.held < 2 * CLIENTS_BYTES
        assert await bodies.read(scope(), streaming(b"y", then=END)) == b"y"


async def test_a_closed_connection_frees_its_share():
    bodies = Bodies(client_bytes=100)
    async with held(bodies, b"x" * 100):
        assert bodies.held == 100
    assert bodies.held == 0
    with pytest.raises(Disconnected):
        await bodies.read(scope(), streaming(b"x", then=GONE))
    assert bodies.held == 0


async def test_a_stop_ends_every_incomplete_body_and_those_that_begin_later():
    """A body that becomes complete in time is accepted."""
    bodies = Bodies(stop_seconds=0.01)
    async with held(bodies, b"x") as sender:
        bodies.stop()
        await asyncio.wait([sender])
        assert sender.exception().reason == "stopping"
    assert await reason(bodies, b"x") == "stopping"
    assert await bodies.read(scope(), streaming(then={**END, "body": b"{}"})) == b"{}"


@pytest.mark.parametrize("length", [b"1048577", b"1e9", b"9" * 5000, b"-1", b""])
async def test_a_content_length_that_is_too_large_or_invalid_is_refused_before_the_body(length):
    """The receiver reads no byte of the body."""
    assert await reason(Bodies(), headers=[(b"content-length", length)]) == "too large"


@pytest.mark.parametrize(
    ("peer", "client"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::", "2001:db8:1:2::/64"),
        ("unix", ""),
    ],
)
def test_a_client_is_an_ipv4_address_or_the_network_of_an_ipv6_address(peer, client):
    assert client_of(scope(peer)) == client
    assert client_of({"client": None}) == ""


async def answer_of(receiver, receive, *headers, method="POST"):
    sent = []

    async def send(message):
        sent.append(message)

    await receiver({"type": "http", "method": method, **scope(headers=headers)}, receive, send)
    return sent


def large(sent, *, pieces):
    """A body without end. `sent` is what the receiver had answered when it asked for each piece."""

    async def receive():
        pieces.append(list(sent))
        return {"type": "http.request", "body": b"x" * 65_536, "more_body": True}

    return receive


@pytest.mark.parametrize("headers", [(), ((HEADER, b"anything"), (b"content-length", b"1e9"))])
async def test_a_request_with_a_wrong_head_is_answered_before_the_body_is_read(headers):
    """Then a bounded part of the body is read, so that the sender gets the answer and no reset."""
    sent, pieces = [], []

    async def send(message):
        sent.append(message)

    receiver = Receiver(None, Verifier(["secret"]), lambda: 1, lambda _: None)
    await receiver({"type": "http", "method": "POST", **scope(headers=headers)}, large(sent, pieces=pieces), send)
    assert sent[0]["status"] in {401, 413}
    assert all(len(before) == 2 for before in pieces)
    assert 0 < len(pieces) * 65_536 <= LINGER_BYTES
    assert not sent[-1]["more_body"]


async def test_a_refusal_is_counted_with_its_reason():
    refused = []
    receiver = Receiver(None, Verifier(["secret"]), lambda: 1, refused.append)
    start, *_ = await answer_of(receiver, streaming(then=END))
    assert start["status"] == 401
    assert refused == ["signature"]


@pytest.mark.parametrize(("bodies", "status"), [(Bodies(stall_seconds=0.01), 408), (Bodies(client_bytes=0), 503)])
async def test_a_refusal_in_the_middle_of_a_body_closes_the_connection(bodies, status):
    receiver = Receiver(None, Verifier(["secret"]), lambda: 1, lambda _: None, bodies=bodies)
    start, *_ = await answer_of(receiver, streaming(b"{"), (HEADER, b"anything"))
    assert start["status"] == status
    assert (b"connection", b"close") in start["headers"]


async def test_a_form_that_does_not_arrive_is_ended(tmp_path):
    """With 408, also when its handler reads the body itself."""
    sent = []

    async def handler(scope, receive, send):
        await receive()
        await receive()

    async def send(message):
        sent.append(message)

    with pytest.raises(HTTPException) as caught:
        await timed_bodies(Bodies(stall_seconds=0.01))(handler)(scope(), streaming(b"p"), send)
    assert caught.value.status_code == 408
    assert sent == []


class Broken:
    def offer(self, reading, body):
        raise RuntimeError("Jane Doe")


async def test_an_exception_in_the_receiver_is_answered_counted_and_logged():
    """Without the text of the exception, which may contain the body."""
    refused = []
    receiver = Receiver(Broken(), Verifier([]), lambda: 1, refused.append, allow_unsigned=True)

    async def receive():
        return {"type": "http.request", "body": b"{}", "more_body": False}

    with capture_logs(processors=[add_log_level, with_exception, masked]) as logged:
        start, _ = await answer_of(receiver, receive)
    assert start["status"] == 500
    assert refused == ["error"]
    assert [entry["log_level"] for entry in logged] == ["critical"]
    assert "Jane" not in str(logged)


async def test_head_is_answered_as_get_without_the_body(tmp_path):
    """RFC 9110, section 9.3.2: the same headers."""
    async with serving(tmp_path) as served:
        got, headed = await served.get(served.path), await served.client.head(served.url + served.path)
    assert headed.status_code == got.status_code == 200
    assert headed.headers["content-length"] == got.headers["content-length"] == str(len(got.content))
    assert headed.content == b""


async def test_a_client_that_stops_in_the_middle_gets_an_answer(tmp_path):
    """A refused body ends its connection, and others are served meanwhile."""
    async with serving(tmp_path) as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", httpx.URL(served.url).port)
        writer.write(
            b"POST /webhooks/hireflix HTTP/1.1\r\nhost: x\r\nx-hireflix-signature: y\r\n"
            b"transfer-encoding: chunked\r\n\r\n" + b"100000\r\n" + b"x" * 0x100000 + b"\r\n1\r\nx\r\n"
        )
        answer = await reader.read()
        writer.close()
    assert answer.startswith(b"HTTP/1.1 413 ")


class Gone:
    log_bytes = 4_096

    async def query(self, query):
        raise StoreUnavailable("the disk is gone")

    async def probe(self, now):
        raise StoreUnavailable("the disk is gone")


class Clock:
    def now(self):
        return 0

    in_sql = now


async def test_metrics_are_served_while_the_store_is_unavailable():
    """An operator needs them at that time."""
    metrics = Metrics()
    metrics.refused("unavailable")
    text = (await HealthChecks(Gone(), Clock(), []).measure(metrics)).decode()
    assert 'connector_requests_refused_total{reason="unavailable"} 1.0' in text
    assert "connector_store_readable 0.0" in text
    assert "connector_store_log_bytes 4096.0" in text


class Counting:
    def __init__(self):
        self.probes = 0

    async def query(self, query):
        return []

    async def probe(self, now):
        self.probes += 1


async def test_the_result_of_a_probe_is_reused_for_a_second():
    """So that frequent readiness checks do not write to the store."""
    store = Counting()
    health = HealthChecks(store, Clock(), [])
    for _ in range(3):
        assert (await health.ready()).ready
    assert store.probes == 1
