"""What a connection may hold before it has sent a request, over real HTTP."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest
import uvicorn

from connector.web.protocol import BoundedProtocol

WHOLE = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}"


class Quick(BoundedProtocol):
    seconds = 0.05


class Narrow(BoundedProtocol):
    head_max = 100


async def agrees(scope, receive, send):
    """Reads the body, says 200."""
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body"})


@asynccontextmanager
async def served(protocol):
    """A server on a free port, and how to open a connection to it."""
    config = uvicorn.Config(agrees, port=0, http=protocol, lifespan="off", log_config=None, access_log=False)
    server = uvicorn.Server(config)
    server.config.load()
    server.lifespan = config.lifespan_class(config)
    await server.startup()
    try:
        yield lambda: asyncio.open_connection("127.0.0.1", server.servers[0].sockets[0].getsockname()[1])
    finally:
        await server.shutdown()


@pytest.mark.parametrize(
    "said",
    [b"", b"POST / HTTP/1.1\r\nhost:", WHOLE[:-2], WHOLE[:-1], WHOLE + b"POST / HT"],
    ids=["nothing", "half a head", "no body", "half a body", "half a second request"],
)
async def test_who_does_not_finish_a_request_loses_the_connection(said):
    """Whoever opens connections and says nothing more cannot use them all up."""
    async with served(Quick) as connect:
        reader, writer = await connect()
        writer.write(said)
        answer = await reader.read()
        writer.close()
    assert answer.count(b"200 OK") == int(said.startswith(WHOLE))


async def test_requests_in_pieces_and_several_on_one_connection_are_answered():
    """A slow sender is no enemy."""
    async with served(BoundedProtocol) as connect:
        reader, writer = await connect()
        for piece in (WHOLE[:9], WHOLE[9:30], WHOLE[30:-1], WHOLE[-1:] + WHOLE + WHOLE[:5], WHOLE[5:]):
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)
        answers = [await reader.readuntil(b"\r\n\r\n") for _ in range(3)]
        writer.close()
    assert all(answer.startswith(b"HTTP/1.1 200 ") for answer in answers)


async def test_an_endless_head_is_given_up():
    """It is not kept in memory until the machine has none left."""
    async with served(Narrow) as connect:
        reader, writer = await connect()
        writer.write(b"GET / HTTP/1.1\r\nx: " + b"y" * 200)
        await writer.drain()
        answer = asyncio.create_task(reader.readline())
        while not answer.done():
            writer.write(b"y")
            await asyncio.sleep(0)
        writer.close()
    assert answer.result() == b"HTTP/1.1 400 Bad Request\r\n"
