"""The pure rules of the webhook: settings, signatures, statuses."""

from __future__ import annotations

import base64
import hashlib
import json
import re

import httpx
import pytest
import respx
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from connector.sink import Delivered, Delivery, RetryLater, SinkBroken, Superseded
from connector.testing import START, make_batch, make_delivery, make_interview, run_batch
from connector.text import clean
from sinks.webhook import Webhook, WebhookConfig, payload, read_answer, signature_headers, signing_key
from tests.sinks.webhook.conftest import SECRET
from tests.sinks.webhook.receiver import whsec

URL = "https://hooks.example.com/services/T0/secret-part"


def test_a_known_vector_is_signed_as_computed_elsewhere():
    """`printf 'msg_1.1757500000.{}' | openssl dgst -sha256 -mac HMAC -macopt hexkey:000102…1f -binary | base64`."""
    headers = signature_headers([bytes(range(32))], "msg_1", START, b"{}")
    assert headers == {
        "webhook-id": "msg_1",
        "webhook-timestamp": "1757500000",
        "webhook-signature": "v1,G32Gfb3vBt2vju1nb3ZcFCNeOjJi/kje2NsP+SdGsEM=",
    }


@given(st.text(max_size=300))
def test_any_delivery_id_becomes_a_header_without_full_stop(delivery_id):
    made = signature_headers([b"k" * 32], delivery_id, START, b"")["webhook-id"]
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,200}", made)
    assert made == signature_headers([b"k" * 32], delivery_id, START + 60_000, b"")["webhook-id"]


@given(st.text(), st.text())
def test_hostile_text_is_cleaned_in_the_body(name, email):
    delivery = make_delivery(number=1)
    values = {"candidate_name": name, "candidate_email": email, "score": 4.5}
    hostile = Delivery("d", "k", type(delivery.event)("e", "n", "i", 0, 0, values), None)
    body = json.dumps(payload(hostile, hostile.event)).encode("ascii")
    assert json.loads(body)["data"]["event"]["fields"] == {
        "candidate_name": clean(name),
        "candidate_email": clean(email),
        "score": 4.5,
    }


def test_a_link_with_a_blank_is_percent_encoded():
    delivery = make_delivery(interview=make_interview(review_url="https://x.example/a b"))
    sent = payload(delivery, delivery.event)
    assert sent["data"]["interview"]["fields"]["review_url"] == "https://x.example/a%20b"


@pytest.mark.parametrize("secret", [SECRET, "whsec_" + base64.b64encode(b"x" * 24).decode(), whsec("z")])
def test_a_legal_secret_gives_its_key(secret):
    assert 24 <= len(signing_key(secret)) <= 64


@pytest.mark.parametrize(
    "secret",
    [
        "",
        "whsec_",
        "abc",
        "whsec_!!!",
        "whsec_YWJj",
        "whsec_" + base64.b64encode(b"x" * 65).decode(),
        "WHSEC_" + "A" * 44,
    ],
)
def test_an_unusable_secret_is_refused_with_the_way_to_make_one_and_not_repeated(secret):
    with pytest.raises(ValidationError, match="openssl rand -base64 32") as refused:
        WebhookConfig(url=URL, secret=secret)
    assert secret in {"", "abc", "whsec_"} or secret not in str(refused.value)


@pytest.mark.parametrize(
    "url", ["http://hooks.example.com/x", "ftp://a.example/x", "hooks.example.com", "", "https://"]
)
def test_an_address_without_tls_is_refused(url):
    with pytest.raises(ValidationError, match="https"):
        WebhookConfig(url=url, secret=SECRET)


def test_settings_and_destination_show_neither_address_nor_secret():
    config = WebhookConfig(url=URL, secret=SECRET)
    sink = Webhook("forward", config)
    digest = hashlib.sha256(URL.encode()).hexdigest()
    assert sink.destination == f"hooks.example.com {digest[:12]}"
    assert "secret-part" not in repr(config) + str(config) + sink.destination
    assert SECRET not in repr(config) + str(config)


def test_another_path_is_another_destination():
    one, other = (Webhook("f", WebhookConfig(url=URL + end, secret=SECRET)).destination for end in ("", "/2"))
    assert one != other


@pytest.mark.parametrize(
    ("status", "headers", "outcome"),
    [
        (200, {}, Delivered()),
        (204, {}, Delivered()),
        (429, {"Retry-After": "7"}, RetryLater("status 429", after=7, counts=False, pause_sink=True)),
        (429, {"Retry-After": "0"}, RetryLater("status 429", after=1, counts=False, pause_sink=True)),
        (429, {}, RetryLater("status 429", after=30, counts=False, pause_sink=True)),
        (500, {}, RetryLater("status 500", unclear=True)),
        (500, {"Retry-After": "60"}, RetryLater("status 500", after=60, unclear=True)),
        (502, {}, RetryLater("status 502", unclear=True, pause_sink=True)),
        (503, {"Retry-After": "120"}, RetryLater("status 503", after=120, unclear=True, pause_sink=True)),
        (504, {}, RetryLater("status 504", unclear=True, pause_sink=True)),
        (400, {}, RetryLater("status 400")),
        (409, {"Retry-After": "5"}, RetryLater("status 409", after=5)),
        (413, {}, RetryLater("status 413")),
        (422, {}, RetryLater("status 422")),
    ],
)
def test_a_status_has_its_outcome(status, headers, outcome):
    assert read_answer(status, httpx.Headers(headers), START) == outcome


@pytest.mark.parametrize("status", [301, 302, 307, 308, 401, 403, 404, 407])
def test_a_permanent_status_is_retried_and_names_what_to_check(status):
    outcome = read_answer(status, httpx.Headers({"Retry-After": "9"}), START)
    assert isinstance(outcome, RetryLater)
    assert (outcome.after, outcome.counts, outcome.unclear, outcome.pause_sink) == (9, True, False, False)
    assert outcome.reason.startswith(f"status {status}: ")


def test_status_410_pauses_the_sink_with_a_fix():
    with pytest.raises(SinkBroken, match="410") as broken:
        read_answer(410, httpx.Headers(), START)
    assert "`url`" in broken.value.fix


@given(st.integers(200, 599).filter(lambda status: status != 410))
def test_only_a_2xx_is_a_success_and_any_other_status_is_retried(status):
    outcome = read_answer(status, httpx.Headers(), START)
    assert isinstance(outcome, Delivered if status < 300 else RetryLater)


@pytest.mark.parametrize("error", [httpx.ConnectError, httpx.ConnectTimeout])
@respx.mock
async def test_what_was_never_sent_is_clear(context, make_sink, error):
    respx.post(URL).mock(side_effect=error("no route"))
    sink = await make_sink(URL)
    outcomes = (await run_batch(sink, [make_delivery()], context)).outcomes
    assert outcomes == [RetryLater("not reachable", pause_sink=True)]


@pytest.mark.parametrize("error", [httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError])
@respx.mock
async def test_what_may_have_arrived_is_unclear(context, make_sink, error):
    respx.post(URL).mock(side_effect=error("gone"))
    sink = await make_sink(URL)
    assert (await run_batch(sink, [make_delivery()], context)).outcomes == [RetryLater("connection lost", unclear=True)]


@respx.mock
async def test_a_refused_event_is_retried_with_the_same_id_and_body_until_it_is_taken(context, make_sink):
    route = respx.post(URL).mock(
        side_effect=[httpx.Response(422), httpx.Response(404), httpx.Response(302), httpx.Response(204)]
    )
    sink = await make_sink(URL)
    delivery = make_delivery()
    outcomes = [(await run_batch(sink, [delivery], context)).outcomes[0] for _ in range(4)]
    assert [type(outcome) for outcome in outcomes] == [RetryLater, RetryLater, RetryLater, Delivered]
    requests = [call.request for call in route.calls]
    assert len({(request.headers["webhook-id"], request.content) for request in requests}) == 1


@respx.mock
async def test_a_refused_event_does_not_stop_the_next_one(context, make_sink):
    respx.post(URL).mock(side_effect=[httpx.Response(400), httpx.Response(200)])
    sink = await make_sink(URL)
    outcomes = (await run_batch(sink, [make_delivery(number=1), make_delivery(number=2)], context)).outcomes
    assert outcomes == [RetryLater("status 400"), Delivered()]


@respx.mock
async def test_a_delivery_without_an_event_is_superseded_and_not_sent(context, make_sink):
    sink = await make_sink(URL)
    result = await run_batch(sink, [make_delivery(state=True)], context)
    assert result.outcomes == [Superseded("no event to forward")]
    assert respx.calls.call_count == 0


async def test_the_check_asks_the_name_service_and_posts_nothing(receiver, make_sink):
    sink = await make_sink(receiver.url)
    [finding] = await sink.check_connection()
    assert finding.level == "ok"
    assert receiver.requests == []


async def test_a_name_that_cannot_resolve_is_a_problem_with_a_fix(make_sink):
    sink = await make_sink(f"https://{'a' * 64}.test/")
    [finding] = await sink.check_connection()
    assert finding.level == "problem"
    assert finding.fix


async def test_the_preview_shows_the_body_and_hides_the_address(context, make_sink):
    sink = await make_sink(URL)
    [found] = await sink.preview(make_batch(), context)
    text = found.text
    assert text.startswith("POST to hooks.example.com\n")
    assert "secret-part" not in text
    assert json.loads(text.split("\n", 1)[1])["type"] == "interview.finish"


async def test_closing_what_was_never_opened_is_harmless():
    sink = Webhook("forward", WebhookConfig(url=URL, secret=SECRET))
    await sink.close()
    assert sink.state is False
