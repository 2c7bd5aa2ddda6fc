"""What a stranger may cost: neither memory nor time, and never a silent failure."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from structlog.testing import capture_logs

from connector.errors import StoreUnavailable
from connector.hireflix.signature import HEADER, Verifier
from connector.web.body import BODY_MAX, Bodies, BodyError
from connector.web.health import Health
from connector.web.metrics import Metrics
from connector.web.receiver import Receiver
from tests.serving import serving


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


async def refused_by(bodies, *parts, then=None, headers=()):
    with pytest.raises(BodyError) as caught:
        await bodies.read(headers, streaming(*parts, then=then))
    return caught.value.status


async def test_a_body_that_drips_is_given_up():
    """Whoever sends a byte a minute does not hold a megabyte for a day."""
    assert await refused_by(Bodies(seconds=0.01), b"{") == 408


async def test_bodies_that_are_not_whole_are_bounded_together():
    """Beyond the limit a sender is asked to come back, and room is made when one of the others has gone."""
    bodies = Bodies(parts_max=BODY_MAX)
    other = asyncio.create_task(bodies.read((), streaming(b"x" * BODY_MAX)))
    await asyncio.sleep(0)
    assert await refused_by(bodies, b"y") == 503
    other.cancel()
    await asyncio.gather(other, return_exceptions=True)
    assert await refused_by(bodies, b"y", then={"type": "http.disconnect"}) == 0


@pytest.mark.parametrize("length", [b"1048577", b"1e9", b"9" * 5000, b"-1", b""])
async def test_a_length_that_is_too_large_or_no_number_is_refused_unread(length):
    """Not one byte of it is waited for."""
    assert await refused_by(Bodies(), headers=[(b"content-length", length)]) == 413


async def answer_of(receiver, receive, *headers, method="POST"):
    sent = []

    async def send(message):
        sent.append(message)

    await receiver({"type": "http", "method": method, "headers": list(headers)}, receive, send)
    return sent


async def never():
    raise AssertionError


async def test_a_stranger_without_a_signature_is_refused_before_the_body():
    """There is nothing to verify, so there is nothing to read."""
    refused = []
    receiver = Receiver(None, Verifier(["secret"]), lambda: 1, refused.append)
    start, _ = await answer_of(receiver, never)
    assert start["status"] == 401
    assert refused == ["signature"]


@pytest.mark.parametrize(("bodies", "status"), [(Bodies(seconds=0.01), 408), (Bodies(parts_max=0), 503)])
async def test_who_is_refused_in_the_middle_of_a_body_loses_the_connection(bodies, status):
    """What is left of the body is not waited for."""
    receiver = Receiver(None, Verifier(["secret"]), lambda: 1, lambda _: None, bodies=bodies)
    start, _ = await answer_of(receiver, streaming(b"{"), (HEADER, b"anything"))
    assert start["status"] == status
    assert (b"connection", b"close") in start["headers"]


class Broken:
    def offer(self, reading, body):
        raise RuntimeError("Jane Doe")


async def test_a_fault_of_the_receiver_is_answered_counted_and_logged():
    """Without what the body said."""
    refused = []
    receiver = Receiver(Broken(), Verifier([]), lambda: 1, refused.append, allow_unsigned=True)

    async def receive():
        return {"type": "http.request", "body": b"{}", "more_body": False}

    with capture_logs() as told:
        start, _ = await answer_of(receiver, receive)
    assert start["status"] == 500
    assert refused == ["error"]
    assert [entry["log_level"] for entry in told] == ["critical"]
    assert "Jane" not in str(told)


async def test_head_is_answered_as_get_without_the_body(tmp_path):
    """RFC 9110, section 9.3.2: the same headers."""
    async with serving(tmp_path) as served:
        got, headed = await served.get(served.path), await served.client.head(served.url + served.path)
    assert headed.status_code == got.status_code == 200
    assert headed.headers["content-length"] == got.headers["content-length"] == str(len(got.content))
    assert headed.content == b""


async def test_a_sender_that_stops_in_the_middle_is_answered_over_the_wire(tmp_path):
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

    async def look(self, query):
        raise StoreUnavailable("the disk is gone")

    async def probe(self, now):
        raise StoreUnavailable("the disk is gone")


class Clock:
    def now(self):
        return 0


async def test_metrics_are_told_even_when_the_store_is_gone():
    """That is when somebody looks at them."""
    metrics = Metrics()
    metrics.refused("unavailable")
    text = (await Health(Gone(), Clock(), []).measure(metrics)).decode()
    assert 'connector_requests_refused_total{reason="unavailable"} 1.0' in text
    assert "connector_store_readable 0.0" in text
    assert "connector_store_log_bytes 4096.0" in text


class Counting:
    def __init__(self):
        self.probes = 0

    async def look(self, query):
        return []

    async def probe(self, now):
        self.probes += 1


async def test_a_probe_serves_for_a_second_and_at_first_there_is_none():
    """Readiness checks cost no write each."""
    store = Counting()
    health = Health(store, Clock(), [])
    for _ in range(3):
        assert (await health.ready()).ready
    assert store.probes == 1
