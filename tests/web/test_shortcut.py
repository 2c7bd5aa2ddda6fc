"""The short way of a webhook, over a raw connection: it answers what the usual way answers, and gives way to it."""

from __future__ import annotations

import asyncio
import json

import pytest
import uvicorn
from uvicorn.server import ServerState

from connector.hireflix.signature import Verifier, sign
from connector.store.plan import Answer
from connector.web.receiver import Receiver
from connector.web.shortcut import Hook, ShortcutProtocol
from tests.serving import SECRET, sample, serving

PATH = "/webhooks/hireflix"


@pytest.fixture
async def served(tmp_path):
    async with serving(tmp_path) as service:
        yield service


def request(number=1, *, path=PATH, secret=SECRET, version="1.1", headers=()):
    """The bytes of one signed webhook about interview `number`."""
    body = json.dumps(sample("finish", id=f"i{number}")).encode()
    lines = [f"POST {path} HTTP/{version}", "host: x", f"content-length: {len(body)}", *headers]
    if secret is not None:
        lines.append(f"X-Hireflix-Signature: {sign(secret, body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


class Told(asyncio.Transport):
    """A connection that remembers what is written to it."""

    def __init__(self, written):
        super().__init__()
        self._written = written

    def write(self, data):
        self._written.append(data)

    def is_closing(self):
        return False

    def close(self):
        """Stays open."""

    def pause_reading(self):
        """Nothing more is read."""

    def resume_reading(self):
        """Nothing more is read."""


async def opened(served):
    host, _, port = served.url.removeprefix("http://").partition(":")
    return await asyncio.open_connection(host, int(port))


async def answer(reader):
    """Status, headers and body of the next response; no header but the date differs between two of them."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in head[1:] if line)
    headers.pop("date")
    body = await reader.readexactly(int(headers["content-length"]))
    return head[0], headers, body


async def said(served, *pieces):
    """What is answered to a request that comes in pieces, each of which has arrived before the next is sent."""
    reader, writer = await opened(served)
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await (await served.get("/health/live")).aread()  # a turn around the server's loop
        return await answer(reader)
    finally:
        writer.close()


@pytest.mark.parametrize("cut", [1, -40, -1], ids=["in the request line", "in the body", "before the last byte"])
async def test_a_webhook_in_two_pieces_is_answered_like_a_whole_one(served, cut):
    whole = await said(served, request(1))
    parted = await said(served, request(2)[:cut], request(2)[cut:])
    assert whole[0] == parted[0] == "HTTP/1.1 202 Accepted"
    assert whole[1] == parted[1]
    assert (json.loads(whole[2])["event_id"], json.loads(parted[2])["event_id"]) == ("1", "2")


@pytest.mark.parametrize("usual", [False, True])
async def test_a_repeat_and_a_stranger_are_told_so_either_way(served, usual):
    """A chunk that comes later forces the usual way."""

    async def tell(raw):
        return await said(served, raw[:-5], raw[-5:]) if usual else await said(served, raw)

    await tell(request())
    assert (await tell(request()))[0::2] == ("HTTP/1.1 200 OK", b'{"status":"duplicate"}')
    assert (await tell(request(secret="another")))[0] == "HTTP/1.1 401 Unauthorized"
    assert (await tell(request(secret=None)))[0] == "HTTP/1.1 401 Unauthorized"
    refused = (await served.get("/metrics")).text
    assert 'connector_requests_refused_total{reason="signature"} 2.0' in refused


async def test_a_connection_takes_one_webhook_after_another(served):
    reader, writer = await opened(served)
    ids = []
    for number in range(3):
        writer.write(request(number))
        ids.append(json.loads((await answer(reader))[2])["event_id"])
    writer.close()
    assert ids == ["1", "2", "3"]


async def test_webhooks_sent_without_waiting_are_answered_in_their_order(served):
    """The first goes the short way, those behind it wait for it."""
    reader, writer = await opened(served)
    writer.write(b"".join(request(number) for number in (1, 2, 1, 3)))
    bodies = [json.loads((await answer(reader))[2]) for _ in range(4)]
    writer.close()
    assert [body["status"] for body in bodies] == ["accepted", "accepted", "duplicate", "accepted"]


async def test_no_clock_of_an_idle_connection_runs_while_a_webhook_waits():
    """The answer to a refused request, in the same data before it, must not start one."""
    answers: list[bytes] = []
    waiting: asyncio.Future = asyncio.get_running_loop().create_future()

    class Intake:
        def offer(self, reading, body):
            return waiting

    receiver = Receiver(Intake(), Verifier([SECRET]), lambda: 1, lambda _: None)
    config = uvicorn.Config(None, http="httptools", lifespan="off", log_config=None)
    config.load()
    protocol = ShortcutProtocol(
        config=config, server_state=ServerState(), app_state={}, hook=Hook(PATH.encode(), receiver)
    )
    protocol.connection_made(Told(answers))
    protocol.data_received(request(secret="another") + request())
    assert answers[0].startswith(b"HTTP/1.1 401")
    assert protocol.timeout_keep_alive_task is None
    waiting.set_result(Answer(1, duplicate=False))
    await asyncio.sleep(0)
    assert answers[1].startswith(b"HTTP/1.1 202")
    protocol.connection_lost(None)


@pytest.mark.parametrize(
    ("version", "headers"), [("1.1", ["connection: close"]), ("1.0", [])], ids=["asked to close", "HTTP/1.0"]
)
async def test_a_connection_that_is_to_end_ends_after_the_answer(served, version, headers):
    reader, writer = await opened(served)
    writer.write(request(version=version, headers=headers))
    everything = await reader.read()
    writer.close()
    assert everything.startswith(b"HTTP/1.1 202")
    assert everything.count(b"HTTP/1.1") == 1


async def test_a_sender_that_asks_to_be_told_to_go_on_is_told(served):
    """Expect: 100-continue is the usual way's (RFC 9110, Expect)."""
    whole = request(headers=["expect: 100-continue"])
    head, _, body = whole.partition(b"\r\n\r\n")
    reader, writer = await opened(served)
    writer.write(head + b"\r\n\r\n")
    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(body)
    assert (await answer(reader))[0] == "HTTP/1.1 202 Accepted"
    writer.close()


@pytest.mark.parametrize("path", [f"{PATH}?x=1", f"{PATH}/", "/webhooks/%68ireflix"])
async def test_other_spellings_of_the_path_are_the_frameworks(served, path):
    assert (await said(served, request(path=path)))[0] == "HTTP/1.1 202 Accepted"


async def test_a_sender_that_is_gone_harms_nobody_and_its_event_is_kept(served):
    _, writer = await opened(served)
    writer.write(request(1))
    await writer.drain()
    writer.transport.abort()
    assert (await said(served, request(1)))[0] in {"HTTP/1.1 200 OK", "HTTP/1.1 202 Accepted"}
    assert (await said(served, request(2)))[0] == "HTTP/1.1 202 Accepted"


async def test_a_body_over_the_limit_is_refused(served):
    """However it comes."""
    raw = b"POST %b HTTP/1.1\r\nhost: x\r\nx-hireflix-signature: x\r\ncontent-length: %d\r\n\r\n" % (
        PATH.encode(),
        2**21,
    )
    assert (await said(served, raw + b"x" * 1000))[0] == "HTTP/1.1 413 Request Entity Too Large"
