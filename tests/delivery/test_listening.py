"""Workers listen for decisions of users: one connection per account, and a status with a reason without one."""

from __future__ import annotations

import asyncio

import pytest

from connector.decision import Decision, DecisionRequest, Via
from connector.delivery.listening import Listening
from connector.errors import SinkBroken
from connector.operations.status import health
from connector.sink import Delivered, Result, Sink, SinkConfig
from connector.store import decisions, leases, settle
from tests.delivery.rig import WaitingClock, until
from tests.operations.hireflix_world import source_at


class Chat(Sink[SinkConfig]):
    """A sink whose connections end as `script` says; without one a connection stays open."""

    Config = SinkConfig

    def __init__(self, name, account="one", script=()):
        super().__init__(name, SinkConfig())
        self.account, self.script = account, list(script)
        self.connections, self.inbox = [], None

    async def deliver(self, batch, context):
        return Result([Delivered() for _ in batch.deliveries])

    async def listen(self, sinks, inbox):
        self.connections.append([sink.name for sink in sinks])
        error = self.script.pop(0) if self.script else None
        if error is not None:
            raise error
        inbox.connected()
        self.inbox = inbox
        await asyncio.Event().wait()


@pytest.fixture
async def source(tmp_path):
    async with source_at(tmp_path) as one:
        yield one


@pytest.fixture
async def listen(source):
    """Makes workers that listen for these sinks, and stops them at the end."""
    clock, asked, made = WaitingClock(), [], []

    async def make(*sinks):
        def register(connection):
            leases.register(connection, {sink.name: "console" for sink in sinks})
            for sink in sinks:
                settle.move(connection, sink.name, sink.destination)

        await source.store.write(register)
        types = {sink.name: "console" for sink in sinks}
        one = Listening(sinks, source.store, clock, types, on_asked=lambda: asked.append(True))
        made.append(one)
        one.start()
        return one

    make.clock, make.asked = clock, asked
    yield make
    for one in made:
        await one.stop()


async def troubles(source, name):
    found = await source.store.query(lambda connection: health(connection, source.clock.now(), None))
    return [(each.what, each.fix) for each in found.troubles if each.subject == name]


async def no_trouble(source, name):
    """Waits until nothing is wrong with a sink; the time limit of the test ends it."""
    while await troubles(source, name):
        pass


async def test_sinks_of_one_account_share_a_connection(listen):
    first, second, third = Chat("first"), Chat("second"), Chat("third", "two")
    await listen(first, second, third)
    await until(lambda: first.connections and third.connections)
    assert (first.connections, second.connections, third.connections) == ([["first", "second"]], [], [["third"]])


async def test_a_sink_without_an_account_does_not_listen(listen):
    silent, other = Chat("silent", ""), Chat("other")
    await listen(silent, other)
    await until(lambda: other.connections)
    assert silent.connections == []


async def test_the_status_says_what_to_do_until_there_is_a_connection(source, listen):
    chat = Chat("chat", script=[SinkBroken("the token was revoked", "make a new token")])
    await listen(chat)
    await until(lambda: listen.clock.waiting)
    expected = ("decisions of users are not received: the token was revoked", "make a new token")
    assert await troubles(source, "chat") == [expected]

    listen.clock.advance(600)
    await until(lambda: len(chat.connections) == 2)
    await no_trouble(source, "chat")


async def test_a_connection_that_ended_is_opened_again(listen):
    chat = Chat("chat", script=[ConnectionError(), None])
    await listen(chat)
    await until(lambda: listen.clock.waiting)
    listen.clock.advance(600)
    await until(lambda: chat.inbox)
    assert chat.connections == [["chat"], ["chat"]]


async def test_a_sink_that_no_longer_asks_for_decisions_is_no_trouble(source, listen):
    await listen(Chat("chat", script=[SinkBroken("the token was revoked", "make a new token")]))
    await until(lambda: listen.clock.waiting)
    assert await troubles(source, "chat") != []
    await listen(Chat("chat", ""))
    await no_trouble(source, "chat")
    assert await troubles(source, "chat") == []


async def test_a_request_is_committed_and_carried_out_at_once(source, listen):
    chat = Chat("chat")
    await listen(chat)
    await until(lambda: chat.inbox)
    request = DecisionRequest(
        key="k", interview_id="i", decision=Decision.SHORTLIST, actor="chat:ana", via=Via.CHAT, place="here"
    )
    answer = await chat.inbox.ask("chat", request)
    assert (answer.request, answer.state, answer.requested_at) == (request, "waiting", listen.clock.now())

    stored = await source.store.query(lambda connection: decisions.of_interview(connection, "i"))
    assert [(each.sink, each.actor, each.place) for each in stored] == [("chat", "chat:ana", "here")]
    assert listen.asked == [True]


async def test_the_first_of_two_requests_with_one_key_is_returned(listen):
    chat = Chat("chat")
    await listen(chat)
    await until(lambda: chat.inbox)
    made = {"key": "k", "interview_id": "i", "via": Via.CHAT}
    first = DecisionRequest(**made, decision=Decision.SHORTLIST, actor="chat:ana", place="1")
    second = DecisionRequest(**made, decision=Decision.DISCARD, actor="chat:bob", place="2")
    await chat.inbox.ask("chat", first)
    assert (await chat.inbox.ask("chat", second)).request == first


async def test_an_unknown_interview_is_not_known(listen):
    chat = Chat("chat")
    await listen(chat)
    await until(lambda: chat.inbox)
    assert await chat.inbox.look("chat", "unheard-of", ["note"]) is None
