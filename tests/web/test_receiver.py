"""The receiver over real HTTP: what it accepts, answers and stores."""

from __future__ import annotations

import asyncio
import json
import sqlite3

import httpx
import pytest

from connector.delivery.clock import SystemClock
from connector.errors import StoreUnavailable
from connector.hireflix.signature import Verifier, sign
from connector.store.base import IngestResult
from connector.store.retention import DAY_MS
from connector.web.receiver import BODY_BYTES, Receiver
from tests.serving import CONSOLE_ONLY, SECRET, sample, serving

EVENTS = ["create", "finish", "status-change", "delete", "score-updated"]


@pytest.fixture
async def served(tmp_path):
    async with serving(tmp_path) as service:
        yield service


def stored(served, sql="SELECT * FROM event LEFT JOIN event_body ON event_seq = seq ORDER BY seq"):
    connection = sqlite3.connect(served.folder / "data" / "connector.db")
    connection.row_factory = sqlite3.Row
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()


@pytest.mark.parametrize("name", EVENTS)
async def test_a_documented_event_is_accepted_and_stored_raw(served, name):
    """202 with the event's id, and the body is on disk byte for byte."""
    raw = json.dumps(sample(name), indent=1).encode()
    answer = await served.post(raw)
    (row,) = stored(served)
    assert answer.status_code == 202
    assert answer.json() == {"status": "accepted", "event_id": str(row["seq"])}
    assert row["body"] == raw
    assert (row["kind"], row["name"]) == ("event", f"interview.{name}")


async def test_a_repeat_is_answered_as_a_duplicate(served):
    """The same event again, even with another body, is stored once."""
    first = await served.post(sample("create"))
    again = await served.post(sample("create", thumbnail="https://media.example/other"))
    assert (first.status_code, first.json()["status"]) == (202, "accepted")
    assert (again.status_code, again.json()) == (202, {"status": "duplicate"})
    assert len(stored(served)) == 1


async def test_repeats_within_one_burst_are_stored_once(served):
    """Forty requests at once with the same event: one is accepted."""
    answers = await asyncio.gather(*(served.post(sample("finish")) for _ in range(40)))
    assert sorted(answer.json()["status"] for answer in answers) == ["accepted"] + ["duplicate"] * 39
    assert len(stored(served)) == 1


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-hireflix-signature": ""},
        {"x-hireflix-signature": "nonsense"},
        {"x-hireflix-signature": sign("another secret", b"{}")},
        {"x-hireflix-signature": sign(SECRET, b"another body")},
    ],
)
async def test_a_request_with_a_missing_or_wrong_signature_is_refused_and_not_stored(served, headers):
    """401, counted, not stored."""
    answer = await served.post(b"{}", secret=None, **headers)
    assert answer.status_code == 401
    assert stored(served) == []
    assert 'connector_requests_refused_total{reason="signature"} 1.0' in (await served.get("/metrics")).text


async def test_the_signature_covers_the_raw_bytes(served):
    """The published vector with non-ASCII text: accepted as sent, refused re-encoded."""
    raw = (
        '{"event":"interview.score-updated","data":{"id":"i1","candidate":{"name":"Zoë Ñandú/é"},'
        '"score":{"value":4.5}},"date":1761567862528}'
    ).encode()
    good = {"x-hireflix-signature": "gPq5UCEDg7OJ4OykSejgyKUbzFMSUfPNv2E6Ol6ZEvI="}
    bad = {"x-hireflix-signature": "BHV8AWBKrhL/JBQY8OvtFfczYEfwSIcWdkf5TZr85Pk="}
    assert (await served.post(raw, secret=None, **bad)).status_code == 401
    assert (await served.post(raw, secret=None, **good)).status_code == 202


async def test_any_of_several_secrets_signs(tmp_path):
    """While a secret is rotated, the old and the new one count."""
    async with serving(tmp_path, secrets=("old", "new")) as served:
        assert (await served.post(sample("create"), secret="old")).status_code == 202
        assert (await served.post(sample("finish"), secret="new")).status_code == 202
        assert (await served.post(sample("delete"), secret="third")).status_code == 401


async def test_allow_unsigned_accepts_a_missing_signature_only(tmp_path):
    """A wrong signature is always refused."""
    toml = CONSOLE_ONLY + "\n[hireflix]\nallow_unsigned = true\n"
    async with serving(tmp_path, toml, secrets=()) as served:
        assert (await served.post(sample("create"), secret=None)).status_code == 202
        assert (await served.post(sample("finish"), secret="wrong")).status_code == 401


async def test_tolerance_days_refuses_an_event_whose_own_date_is_longer_ago(tmp_path):
    """400, counted, not stored. A signed body that someone kept cannot be sent again later."""
    toml = f'{CONSOLE_ONLY}\n[hireflix]\nwebhook_secrets = ["{SECRET}"]\ntolerance_days = 7\n'
    now = SystemClock().now()
    async with serving(tmp_path, toml) as served:
        answer = await served.post(sample("create") | {"date": now - 8 * DAY_MS})
        assert (answer.status_code, answer.json()) == (400, {"error": "the event is older than this receiver accepts"})
        assert (await served.post(sample("create") | {"date": now - 6 * DAY_MS})).status_code == 202
        assert (await served.post(sample("finish") | {"date": None})).status_code == 202
        assert 'connector_requests_refused_total{reason="too old"} 1.0' in (await served.get("/metrics")).text
        assert [row["name"] for row in stored(served)] == ["interview.create", "interview.finish"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not json",
        b"[]",
        b'{"event":"interview.delete"}',
        b'\xff\xfe{"event":"x"}',
        b'{"event":"interview.create","data":{"id":7.5},"date":1}',
        json.dumps({"event": "interview.create", "data": {"id": "x" * 201}, "date": 1}).encode(),
        json.dumps({"event": "interview.create", "data": {"id": "a\nb"}, "date": 1}).encode(),
    ],
)
async def test_a_signed_but_unreadable_body_is_kept(served, body):
    """202: it is listed, and replayed after an upgrade that can read it."""
    assert (await served.post(body)).status_code == 202
    (row,) = stored(served)
    assert (row["kind"], row["body"]) == ("unreadable", body)
    assert stored(served, "SELECT * FROM interview") == []
    assert stored(served, "SELECT * FROM delivery") == []


async def test_an_unknown_event_is_stored_but_not_merged(served):
    """An upgrade that knows its name can replay it."""
    payload = sample("create") | {"event": "interview.teleported"}
    assert (await served.post(payload)).status_code == 202
    (row,) = stored(served)
    assert (row["kind"], row["name"]) == ("unknown", "interview.teleported")
    assert stored(served, "SELECT * FROM interview") == []


async def test_unknown_fields_are_ignored(served):
    """Hireflix may add fields."""
    payload = sample("create", brandNew={"deep": [1, 2]}) | {"version": 2}
    assert (await served.post(payload)).status_code == 202
    assert stored(served)[0]["kind"] == "event"


@pytest.mark.parametrize(
    "payload",
    [
        {"event": "interview.finish", "data": {"interview": {"id": "i1"}}, "date": 1_761_566_424_499},
        {"event": "interview.finish", "interview": {"id": "i1", "completed_at": "2025-10-27T12:00:00Z"}},
    ],
)
async def test_older_shapes_are_read(served, payload):
    """The interview is found at its older places."""
    assert (await served.post(payload)).status_code == 202
    assert [row["id"] for row in stored(served, "SELECT id FROM interview")] == ["i1"]


async def test_an_event_without_a_date_counts_from_receipt(served):
    """Its body is its identity, and the mark says so."""
    payload = sample("create")
    del payload["date"]
    assert (await served.post(payload)).status_code == 202
    assert (await served.post(payload)).json() == {"status": "duplicate"}
    (row,) = stored(served)
    assert row["mark"] == "undated"
    assert row["occurred_at"] == row["received_at"]


async def test_a_value_that_cannot_be_used_is_marked_and_counted_by_field(served):
    """The event is kept, and neither mark nor metric holds the value."""
    payload = sample("create", createdAt="Wayne Knight", score=[1])
    assert (await served.post(payload)).status_code == 202
    (row,) = stored(served)
    assert (row["kind"], row["mark"]) == ("event", "unused: createdAt score")
    text = (await served.get("/metrics")).text
    assert 'connector_fields_unused_total{field="createdAt"} 1.0' in text
    assert 'connector_fields_unused_total{field="score"} 1.0' in text
    assert "Wayne" not in text


async def test_a_signed_body_with_a_byte_order_mark_is_read(served):
    """The signature covers the mark."""
    assert (await served.post(b"\xef\xbb\xbf" + json.dumps(sample("create")).encode())).status_code == 202
    assert [row["kind"] for row in stored(served)] == ["event"]


async def test_an_event_from_the_future_counts_from_receipt(served):
    """A wrong clock of the sender must not make later events older."""
    payload = sample("create") | {"date": 4_000_000_000_000}
    await served.post(payload)
    (row,) = stored(served)
    assert row["mark"] == "future"
    assert row["occurred_at"] == row["received_at"]


async def test_a_body_over_one_mebibyte_is_refused(served):
    """413 for a declared length and for a stream without one; nothing stored."""
    big = b"x" * (BODY_BYTES + 1)

    async def stream():
        for start in range(0, len(big), 65536):
            yield big[start : start + 65536]

    headers = {"x-hireflix-signature": sign(SECRET, big)}
    assert (await served.post(big)).status_code == 413
    answer = await served.client.post(served.url + served.path, content=stream(), headers=headers)
    assert answer.status_code == 413
    assert stored(served) == []


async def test_a_body_of_exactly_one_mebibyte_is_accepted(served):
    """The limit is inclusive."""
    assert (await served.post(b"x" * BODY_BYTES)).status_code == 202


async def test_a_chunked_body_is_accepted(served):
    """A Content-Length is not required."""
    raw = json.dumps(sample("create")).encode()

    async def stream():
        yield raw[:100]
        yield raw[100:]

    headers = {"x-hireflix-signature": sign(SECRET, raw)}
    answer = await served.client.post(served.url + served.path, content=stream(), headers=headers)
    assert answer.status_code == 202


async def test_a_browser_shows_that_the_receiver_works(served):
    """GET answers a sentence for users."""
    answer = await served.get(served.path)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    assert "receiver" in answer.text


async def test_other_methods_are_refused(served):
    """The answer to PUT names the allowed methods."""
    answer = await served.client.put(served.url + served.path)
    assert answer.status_code == 405
    assert answer.headers["allow"] == "POST, GET, HEAD"


async def test_the_path_is_configurable(tmp_path):
    """An operator can choose a path that cannot be guessed."""
    toml = CONSOLE_ONLY + f'\n[hireflix]\nwebhook_path = "/in/7f3a"\nwebhook_secrets = ["{SECRET}"]\n'
    async with serving(tmp_path, toml) as served:
        assert (await served.post(sample("create"))).status_code == 404
        served.path = "/in/7f3a"
        assert (await served.post(sample("create"))).status_code == 202


async def call(receiver, method="POST", body=b"{}", headers=()):
    """One request to the bare function."""
    sent = []

    async def receive():
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message):
        sent.append(message)

    await receiver({"type": "http", "method": method, "headers": list(headers)}, receive, send)
    return sent


class Unavailable:
    def offer(self, reading, body):
        raise StoreUnavailable("disk full")


class FailsLater:
    def offer(self, reading, body):
        future = asyncio.get_running_loop().create_future()
        future.set_exception(StoreUnavailable("disk full"))
        return future


class Takes:
    def offer(self, reading, body):
        future = asyncio.get_running_loop().create_future()
        future.set_result(IngestResult(1, duplicate=False))
        return future


@pytest.mark.parametrize("intake", [Unavailable(), FailsLater()])
async def test_an_unavailable_store_answers_503_with_retry_after(intake):
    """Never 2xx without a commit."""
    refused = []
    receiver = Receiver(intake, Verifier([]), lambda: 1, refused.append, allow_unsigned=True)
    start, _ = await call(receiver)
    assert start["status"] == 503
    assert (b"retry-after", b"5") in start["headers"]
    assert refused == ["unavailable"]


async def test_a_sender_that_disconnects_is_not_answered():
    """An incomplete body is not stored."""
    refused = []
    receiver = Receiver(Takes(), Verifier([]), lambda: 1, refused.append, allow_unsigned=True)
    messages = [{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}]
    sent = []

    async def receive():
        return messages.pop(0)

    async def send(message):
        sent.append(message)

    await receiver({"type": "http", "method": "POST", "headers": []}, receive, send)
    assert sent == []
    assert refused == ["disconnected"]


async def test_an_invalid_content_length_is_refused():
    """A length that is not a number counts as too large."""
    receiver = Receiver(Takes(), Verifier([]), lambda: 1, lambda _: None, allow_unsigned=True)
    start, *_ = await call(receiver, headers=[(b"content-length", b"1e9")])
    assert start["status"] == 413


async def test_the_service_is_ready_when_the_store_accepts_a_write(served):
    """Readiness is about the store; the sinks' states are in the body."""
    answer = await served.get("/health/ready")
    assert answer.status_code == 200
    assert answer.json() == {"ready": True, "reason": "", "sinks": {"console": "ok"}}
    assert (await served.get("/health/live")).status_code == 200


async def test_metrics_count_received_events(served):
    """Received by name, duplicates, older than stored."""
    await served.post(sample("score-updated"))
    await served.post(sample("status-change"))
    await served.post(sample("status-change"))
    text = (await served.get("/metrics")).text
    assert 'connector_events_received_total{event="interview.score-updated"} 1.0' in text
    assert "connector_events_duplicate_total 1.0" in text
    assert "connector_events_older_total 1.0" in text


async def test_a_client_that_closes_early_does_not_affect_others(served):
    """An aborted request leaves the receiver working."""
    _, writer = await asyncio.open_connection("127.0.0.1", httpx.URL(served.url).port)
    writer.write(b"POST /webhooks/hireflix HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{")
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    assert (await served.post(sample("create"))).status_code == 202
