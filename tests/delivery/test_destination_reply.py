"""The reply of a destination to a failed call is stored with the attempt, without secrets and personal data."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr
from sqlalchemy import select

from connector.delivery.sink_call import REPLY_BYTES, mask_reply
from connector.sink import Result, RetryLater, SinkBroken, SinkConfig
from connector.store.schema import attempt
from connector.store.settle import DestinationReply
from connector.testing import make_delivery, make_event, make_interview


class Secretive(SinkConfig):
    url: SecretStr
    more: dict[str, list[SecretStr]]


CONFIG = Secretive(url="https://hooks.example.org/T1/zzz9", more={"keys": ["opensesame"]})
PERSON = {
    "candidate_name": "Zoë O'Hara-Núñez",
    "candidate_email": "zoe@example.org",
    "candidate_phone": "+34 600 11 22 33",
    "review_url": "https://admin.hireflix.com/interview/abc",
}


def stored(text, status=400, **fields):
    delivery = make_delivery(make_event(**PERSON, **fields), make_interview(**PERSON, **fields))
    return mask_reply(DestinationReply(status, text), [delivery], CONFIG)


@pytest.mark.parametrize("secret", ["https://hooks.example.org/T1/zzz9", "opensesame", "xoxb-1-2", "Bearer abc.def"])
def test_a_secret_that_the_destination_repeats_is_hidden(secret):
    assert stored(f"cannot use {secret} here").text == "cannot use [hidden] here"


@pytest.mark.parametrize("value", [*PERSON.values(), "ZOË O'HARA-NÚÑEZ", "o'hara-núñez", "other@example.org"])
@pytest.mark.parametrize("form", [str, lambda value: json.dumps({"said": value})])
def test_names_and_contact_data_are_hidden_in_every_form(value, form):
    text = stored(f"refused: {form(value)} is wrong").text
    assert "[hidden]" in text
    assert not [part for part in ("zo", "hara", "600", "abc", "example") if part in text.casefold()]


def test_the_words_of_the_destination_stay():
    reply = stored('{"error":"channel_not_found","needed":"channels:read"}', 404)
    assert (reply.status, reply.text) == (404, '{"error":"channel_not_found","needed":"channels:read"}')


def test_it_is_one_line_without_control_characters():
    assert stored("a\r\n\x1b[2Jb\u202ec\x00").text == "a [2Jbc"


@given(st.text(min_size=1, max_size=40_000))
def test_it_is_short(text):
    assert len(stored(text).text.encode()) <= REPLY_BYTES


@given(st.integers(0, 9000), st.sampled_from([*PERSON.values()]))
def test_a_value_that_the_end_cuts_off_is_hidden_too(start, value):
    text = stored("." * start + value + "." * 9000).text
    assert not [part for part in ("Zoë", "zoe", "+34", "Hara") if part in text]


def replying(outcome, status, text):
    def act(batch, context):
        context.record_reply(status, text)
        if isinstance(outcome, Exception):
            raise outcome
        return Result([outcome for _ in batch.deliveries])

    return act


@pytest.mark.parametrize(
    ("outcome", "recorded"),
    [
        (RetryLater("http 503"), ("retry later", "http 503")),
        (SinkBroken("no access", "share it"), ("broken", "no access")),
        (ValueError("odd"), ("unclear", "exception ValueError")),
    ],
)
async def test_every_failed_call_is_an_attempt_with_the_reply(rig_of, outcome, recorded):
    """Also one that pauses the sink."""
    rig = await rig_of()
    rig.sinks[0].script = [replying(outcome, 503, "come back later, zoe@example.org")]
    await rig.event()
    await rig.lane.step()
    [row] = await rig.store.query(lambda connection: connection.execute(select(attempt)).all())
    assert (row.outcome, row.reason) == recorded
    assert (row.count, row.status, row.answer) == (1, 503, "come back later, [hidden]")


async def test_the_reply_of_an_earlier_call_is_not_kept(rig_of):
    rig = await rig_of()
    silent = lambda batch, _: Result([RetryLater("lost") for _ in batch.deliveries])  # noqa: E731
    rig.sinks[0].script = [replying(RetryLater("busy", after=1), 503, "later"), silent]
    await rig.event()
    await rig.lane.step()
    rig.clock.advance(2)
    await rig.lane.step()
    rows = await rig.store.query(lambda connection: connection.execute(select(attempt).order_by(attempt.c.id)).all())
    assert [(row.reason, row.answer) for row in rows] == [("busy", "later"), ("lost", None)]
