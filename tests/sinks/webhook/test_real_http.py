"""The webhook against a real server on loopback, with the faults of a real network."""

from __future__ import annotations

import asyncio
import json
import socket

import pytest

from connector.emulators.faults import APPLY_HANG, DROP, HANG, REFUSE, TRUNCATE
from connector.sink import Delivered, RetryLater, SinkBroken, Stage
from connector.testing import START, make_delivery, make_event, make_interview, run_batch
from tests.sinks.webhook.certificate import self_signed
from tests.sinks.webhook.conftest import SECRET
from tests.sinks.webhook.receiver import Reply, signed_by, whsec


async def test_an_event_arrives_signed_and_whole(receiver, context, make_sink):
    sink = await make_sink(f"{receiver.url}/hook?token=abc")
    event = make_event("interview.score-updated", score=4.5, candidate_name="Zoë Ñandú")
    delivery = make_delivery(event, make_interview(score=4.5, stage=Stage.SHORTLISTED), id="dlv_1")

    result = await run_batch(sink, [delivery], context)

    assert result.outcomes == [Delivered()]
    [request] = receiver.requests
    assert signed_by(SECRET, request)
    assert request.headers["webhook-id"] == "dlv_1"
    assert request.headers["webhook-timestamp"] == str(START // 1000)
    assert request.headers["content-type"] == "application/json"
    body = json.loads(request.body)
    assert body["type"] == "interview.score-updated"
    assert body["timestamp"] == "2025-09-10T10:26:40.000Z"
    assert body["data"]["delivery_id"] == "dlv_1"
    assert body["data"]["event"]["id"] == event.id
    assert body["data"]["event"]["fields"]["candidate_name"] == "Zoë Ñandú"
    assert body["data"]["interview"]["stage"] == "shortlisted"
    assert body["data"]["interview"]["fields"]["score"] == 4.5


async def test_a_tampered_body_does_not_verify(receiver, context, make_sink):
    sink = await make_sink(receiver.url)
    await run_batch(sink, [make_delivery()], context)
    [request] = receiver.requests
    assert not signed_by(SECRET, type(request)(request.headers, request.body.replace(b"finish", b"delete")))


async def test_while_secrets_change_both_sign(receiver, context, make_sink):
    sink = await make_sink(receiver.url, previous_secret=whsec("before"))
    await run_batch(sink, [make_delivery()], context)
    [request] = receiver.requests
    assert signed_by(SECRET, request)
    assert signed_by(whsec("before"), request)
    assert not signed_by(whsec("other"), request)


async def test_every_attempt_has_the_same_id_and_its_own_time(receiver, context, make_sink):
    sink = await make_sink(receiver.url)
    receiver.reply = Reply(503)
    await run_batch(sink, [make_delivery()], context)
    context.clock.advance(60)
    receiver.reply = Reply(200)
    await run_batch(sink, [make_delivery()], context)
    first, second = receiver.requests
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert int(second.headers["webhook-timestamp"]) - int(first.headers["webhook-timestamp"]) == 60
    assert signed_by(SECRET, second)


@pytest.mark.parametrize("fault", [DROP, REFUSE, TRUNCATE])
async def test_a_cut_connection_is_unclear_or_answered_never_lost(receiver, context, make_sink, fault):
    sink = await make_sink(receiver.url)
    receiver.faults.add(fault)
    [outcome] = (await run_batch(sink, [make_delivery()], context)).outcomes
    # a truncated answer still carried its status
    expected = Delivered() if fault is TRUNCATE else RetryLater("connection lost", unclear=True)
    assert outcome == expected


@pytest.mark.parametrize("fault", [HANG, APPLY_HANG])
async def test_a_receiver_that_never_answers_is_unclear(receiver, context, make_sink, fault):
    sink = await make_sink(receiver.url, timeout=1)
    receiver.faults.add(fault)
    [outcome] = (await run_batch(sink, [make_delivery()], context)).outcomes
    assert outcome == RetryLater("timeout", unclear=True)


async def test_a_refused_connection_rests_the_lane_and_is_clear(context, make_sink):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    sink = await make_sink(f"http://127.0.0.1:{port}/")
    [outcome] = (await run_batch(sink, [make_delivery()], context)).outcomes
    assert outcome == RetryLater("not reachable", pause_sink=True)


async def test_an_untrusted_certificate_breaks_the_sink(context, make_sink, tmp_path):
    server = await asyncio.start_server(lambda _reader, _writer: None, "127.0.0.1", 0, ssl=self_signed(tmp_path))
    sink = await make_sink(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
    with pytest.raises(SinkBroken, match="certificate") as broken:
        await run_batch(sink, [make_delivery()], context)
    assert "SSL_CERT_FILE" in broken.value.fix
    server.close()


async def test_a_redirect_is_not_followed_and_retried(receiver, context, make_sink):
    sink = await make_sink(receiver.url)
    receiver.reply = Reply(308, {"Location": f"{receiver.url}/elsewhere"})
    [outcome] = (await run_batch(sink, [make_delivery()], context)).outcomes
    assert outcome == RetryLater("status 308: redirects are not followed, set url to the new address")
    assert len(receiver.requests) == 1


async def test_a_refused_event_arrives_once_the_receiver_takes_it(receiver, context, make_sink):
    sink = await make_sink(receiver.url)
    receiver.reply = Reply(413, {"Retry-After": "7"})
    [refused] = (await run_batch(sink, [make_delivery()], context)).outcomes
    receiver.reply = Reply(200)
    [taken] = (await run_batch(sink, [make_delivery()], context)).outcomes
    assert [refused, taken] == [RetryLater("status 413", after=7), Delivered()]
    first, second = receiver.requests
    assert (first.headers["webhook-id"], first.body) == (second.headers["webhook-id"], second.body)


async def test_a_receiver_that_is_gone_pauses_the_sink(receiver, context, make_sink):
    sink = await make_sink(receiver.url)
    receiver.reply = Reply(410)
    with pytest.raises(SinkBroken, match="410"):
        await run_batch(sink, [make_delivery()], context)


async def test_the_answer_of_a_receiver_is_kept_nowhere(receiver, context, make_sink):
    sink = await make_sink(receiver.url)
    receiver.reply = Reply(422, body="Wayne Knight is no valid name")
    [outcome] = (await run_batch(sink, [make_delivery()], context)).outcomes
    assert outcome == RetryLater("status 422")


async def test_an_endless_answer_is_not_read(receiver, context, make_sink):
    sink = await make_sink(receiver.url)
    receiver.reply = Reply(200, body="x" * 20_000_000)
    assert (await run_batch(sink, [make_delivery()], context)).outcomes == [Delivered()]


async def test_each_request_is_counted(receiver, context, make_sink):
    sink = await make_sink(receiver.url)
    await run_batch(sink, [make_delivery(number=1), make_delivery(number=2)], context)
    assert context.calls == {"post": 2}


async def test_the_reply_of_a_refusal_is_recorded(receiver, context, make_sink):
    sink = await make_sink(receiver.url)
    receiver.reply = Reply(422, body="unknown field " + "x" * 20_000)
    await run_batch(sink, [make_delivery()], context)
    [(status, text)] = context.replies
    assert (status, text[:15], len(text)) == (422, "unknown field x", 8192)


async def test_the_reply_of_a_success_is_not_read(receiver, context, make_sink):
    await run_batch(await make_sink(receiver.url), [make_delivery()], context)
    assert context.replies == []


async def test_a_compressed_refusal_is_not_unpacked(receiver, context, make_sink):
    sink = await make_sink(receiver.url)
    receiver.reply = Reply(400, {"content-encoding": "gzip"}, "a bomb")
    result = await run_batch(sink, [make_delivery()], context)
    assert result.outcomes == [RetryLater("status 400")]
    assert context.replies == [(400, "")]
