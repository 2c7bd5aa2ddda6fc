"""The envelope of a webhook: kind, identity, date, and what cannot be read."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from connector.hireflix import EVENT_NAMES
from connector.hireflix.payload import EventKind, Reading, read
from connector.interview import FIELDS
from connector.text import clean

SAMPLES = Path(__file__).parent.parent / "samples"
NOW = 1761567862600
DAY = 24 * 3600 * 1000


def body(event="interview.create", data=None, **rest):
    return json.dumps({"event": event, "data": {"id": "i1"} if data is None else data, "date": NOW, **rest}).encode()


@pytest.mark.parametrize("name", sorted(EVENT_NAMES))
def test_the_published_sample_of_each_event_is_read(name):
    raw = (SAMPLES / f"{name}.json").read_bytes()
    reading = read(raw, NOW)
    sent = json.loads(raw)
    assert (reading.kind, reading.name, reading.interview_id, reading.occurred_at) == (
        EventKind.EVENT,
        name,
        sent["data"]["id"],
        sent["date"],
    )


def test_a_reading_describes_the_whole_body():
    raw = body(data={"id": "i1", "status": "pending", "candidate": {"name": "Ann"}}, date=1761566424499)
    assert read(raw, NOW) == Reading(
        kind=EventKind.EVENT,
        identity="1761566424499\ti1\tinterview.create",
        sha256=sha256(raw).digest(),
        name="interview.create",
        interview_id="i1",
        occurred_at=1761566424499,
        received_at=NOW,
        mark="",
        fields={"status": "pending", "candidate_name": "Ann"},
        keys=4,
        reason="",
    )


def test_a_known_name_is_read_in_any_case_and_returned_in_lower_case():
    reading = read(body("Interview.Create"), NOW)
    assert (reading.kind, reading.name) == (EventKind.EVENT, "interview.create")


def test_an_unknown_name_is_kept_verbatim():
    reading = read(body("Interview.Opened"), NOW)
    assert (reading.kind, reading.name, reading.interview_id) == (EventKind.UNKNOWN, "Interview.Opened", "i1")


def test_an_event_keeps_its_identity_when_a_later_version_knows_its_name():
    assert read(body("Interview.Opened"), NOW).identity == f"{NOW}\ti1\tinterview.opened"


def test_unknown_keys_are_ignored_but_counted():
    plain = read(body(), NOW)
    more = read(body(data={"id": "i1", "new": {"a": 1, "b": [1, {"c": 2}]}}, version=7), NOW)
    assert more.fields == plain.fields
    assert (plain.keys, more.keys) == (1, 4)


def sample_case(name):
    return (SAMPLES / "cases" / f"{name}.json").read_bytes()


def test_types_that_can_mean_one_thing_only_are_converted():
    reading = read(sample_case("types"), NOW)
    assert reading.unused == ()
    assert reading.fields == {
        "external_id": "12345",
        "status": "pending",
        "created_at": 1761566424331,
        "score": 4.5,
        "completed": 1761566430000,
        "archived": None,
        "finalist": None,
        "answered": False,
        "position_id": "64b0c0ffee00000000000099",
        "position_name": "Data Analyst",
        "candidate_name": "Ana Prueba",
        "candidate_email": "ana@example.com",
        "candidate_phone": "34600111222",
        "review_url": "https://admin.hireflix.com/jobs/1/interview/1",
    }


def test_a_value_that_cannot_be_used_is_marked_without_its_content():
    reading = read(body(data={"id": "i1", "score": "Ann", "candidate": {"phone": ["+34 600"]}}, date=None), NOW)
    assert reading.fields == {}
    assert reading.unused == ("score", "candidate.phone")
    assert reading.marks == "undated, unused: score candidate.phone"


def test_a_body_with_a_byte_order_mark_is_read():
    raw = sample_case("bom")
    reading = read(raw, NOW)
    assert raw.startswith(b"\xef\xbb\xbf")
    assert (reading.kind, reading.fields["candidate_name"]) == (EventKind.EVENT, "Ana Prueba")
    assert reading.sha256 == sha256(raw).digest()


def test_an_id_that_is_a_whole_number_is_its_text():
    assert read(body(data={"id": 12345.0}), NOW).interview_id == "12345"


# --- dates


@pytest.mark.parametrize(
    "date",
    [
        1761566424,
        1761566424.0,
        1761566424000,
        1761566424000.4,
        "2025-10-27T12:00:24Z",
        "2025-10-27T12:00:24",
        "1761566424",
        "1761566424000",
    ],
)
def test_a_date_may_be_seconds_milliseconds_or_iso_text(date):
    reading = read(body(date=date), NOW)
    assert (reading.occurred_at, reading.mark) == (1761566424000, "")
    assert reading.identity == "1761566424000\ti1\tinterview.create"


@pytest.mark.parametrize(
    "date", [None, True, 0, -5, "soon", "", [], {}, 10**30, 2**63, 1e-9, "0001-01-01", "1969-12-31T00:00:00Z"]
)
def test_without_a_usable_date_the_receipt_counts_and_the_body_is_its_own_identity(date):
    raw = body(date=date)
    reading = read(raw, NOW)
    assert (reading.occurred_at, reading.mark) == (NOW, "undated")
    assert reading.identity == f"sha256:{sha256(raw).hexdigest()}"


@pytest.mark.parametrize(
    ("ahead", "mark", "occurred_at"), [(DAY, "", NOW + DAY), (DAY + 1, "future", NOW), (10**15, "future", NOW)]
)
def test_a_date_more_than_a_day_ahead_counts_as_the_receipt(ahead, mark, occurred_at):
    reading = read(body(date=NOW + ahead), NOW)
    assert (reading.mark, reading.occurred_at) == (mark, occurred_at)


def test_a_date_ahead_keeps_its_identity_whenever_it_comes():
    raw = body(date=NOW + 2 * DAY)
    assert read(raw, NOW).identity == read(raw, NOW + DAY).identity


# --- legacy shapes


def test_the_interview_may_lie_under_data_interview():
    reading = read(body(data={"interview": {"id": "i2", "status": "completed"}}), NOW)
    assert (reading.interview_id, reading.fields) == ("i2", {"status": "completed"})


def test_the_interview_may_lie_at_the_top_with_its_old_names():
    raw = json.dumps(
        {
            "event": "interview.finish",
            "interview": {
                "id": "i3",
                "candidate": {"name": "Ann", "email": "ann@example.com"},
                "position": {"id": "p1", "name": "Cook"},
                "status": "completed",
                "completed_at": "2025-10-27T12:00:24.500Z",
                "video_url": "https://example.com/v",
            },
            "external_id": "x-9",
        }
    ).encode()
    reading = read(raw, NOW)
    assert (reading.kind, reading.interview_id, reading.mark) == (EventKind.EVENT, "i3", "undated")
    assert reading.fields == {
        "status": "completed",
        "position_id": "p1",
        "position_name": "Cook",
        "candidate_name": "Ann",
        "candidate_email": "ann@example.com",
        "completed": 1761566424500,
        "external_id": "x-9",
    }


def test_an_object_without_an_id_hides_no_interview():
    reading = read(body(data={"id": "i1", "interview": {"status": "x"}}, interview={"id": "i9"}), NOW)
    assert reading.interview_id == "i1"


def test_a_number_is_taken_as_an_id():
    reading = read(body(data={"id": 77, "position": {"id": 5}, "externalId": 6}), NOW)
    assert (reading.interview_id, reading.fields) == ("77", {"external_id": "6", "position_id": "5"})


# --- what cannot be read

DEEP = 100_000


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "not JSON in UTF-8"),
        (b"\xff\xfe{}", "not JSON in UTF-8"),
        (b'{"event":"\xed\xa0\x80"}', "not JSON in UTF-8"),
        (b'{"event":', "not JSON in UTF-8"),
        (b'{"event":"interview.create","data":{"id":"i1"},"date":NaN}', "not JSON in UTF-8"),
        (b'{"event":"interview.create","data":{"id":"i1"},"date":1e999}', "not JSON in UTF-8"),
        (b'{"event":"interview.create","data":{"id":"i1"},"date":' + b"9" * 5000 + b"}", "not JSON in UTF-8"),
        (b"[" * DEEP, "too deeply"),
        (b'{"data":' * DEEP + b"1" + b"}" * DEEP, "too deeply"),
        (b'{"e":"\\ud800","data":' + b"[" * DEEP + b"]" * DEEP + b"}", "too deeply"),
        (b"[]", "not a JSON object"),
        (b'"text"', "not a JSON object"),
        (b"null", "not a JSON object"),
        (b"{}", "the interview id is missing"),
        (body(data={}), "the interview id is missing"),
        (body(data=[1]), "the interview id is missing"),
        (body(data={"id": None}), "interview id is missing"),
        (body(data={"id": ""}), "interview id is missing"),
        (body(data={"id": True}), "interview id is missing"),
        (body(data={"id": {"$oid": "1"}}), "interview id is missing"),
        (body(data={"id": 1.5}), "interview id is missing"),
        (body(data={"id": "x" * 201}), "interview id is longer than 200"),
        (body(data={"id": 10**300}), "interview id is longer than 200"),
        (body(data={"id": "a\nb"}), "interview id holds control"),
        (body(data={"id": "a\x00b"}), "interview id holds control"),
        (body(data={"id": "a\u202eb"}), "interview id holds control"),
        (body(data={"id": "a\u200bb"}), "interview id holds control"),
        (body(data={"id": "#verify"}), "interview id starts with #"),
        (body(data={"id": "   "}), "interview id is missing"),
        (body(data={"id": "a\x9bb"}), "interview id holds control"),
        (body(data={"id": "a\ud800b"}), "interview id holds control"),
        (body(event=None), "event name is missing"),
        (body(event=""), "event name is missing"),
        (body(event=["interview.create"]), "event name is missing"),
        (body(event="x" * 201), "event name is longer than 200"),
        (body(event="a\tb"), "event name holds control"),
    ],
)
def test_what_cannot_be_read_is_kept_with_a_reason(raw, reason):
    reading = read(raw, NOW)
    assert reason in reading.reason
    assert (reading.kind, reading.identity) == (EventKind.UNREADABLE, f"sha256:{sha256(raw).hexdigest()}")
    assert (reading.name, reading.interview_id, reading.fields, reading.occurred_at) == ("", "", {}, NOW)


def test_an_id_of_200_characters_is_read():
    assert read(body(data={"id": "é" * 200}), NOW).interview_id == "é" * 200


def test_half_a_character_in_a_name_costs_only_that_character():
    raw = b'{"event":"interview.create","data":{"id":"i1","candidate":{"name":"Ann \\ud83d"}},"date":1761566424499}'
    reading = read(raw, NOW)
    assert (reading.kind, reading.fields["candidate_name"]) == (EventKind.EVENT, "Ann \ufffd")


# --- properties

KEYS = ["position", "externalId", "external_id", "status", "hash", "createdAt", "candidate", "score", "completed"]
MORE_KEYS = ["deleted", "archived", "finalist", "answered", "thumbnail", "url", "interview", "completed_at"]
words = st.text(max_size=8) | st.sampled_from(["interview.create", "interview.finish", "i1", "2025-01-01T00:00:00Z"])
plain = st.none() | st.booleans() | st.integers() | st.floats() | words
trees = st.recursive(
    plain,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["id", "name", "value", "email", "status", "score", "completed_at", "deleted"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
names = st.sampled_from(sorted(EVENT_NAMES))
data = st.fixed_dictionaries({"id": st.just("i1") | words}, optional=dict.fromkeys(KEYS + MORE_KEYS, trees))
envelopes = st.fixed_dictionaries(
    {"event": names | words, "data": data}, optional={"date": plain, "interview": data, "external_id": plain}
)
anything = st.fixed_dictionaries(
    {}, optional={"event": names | trees, "data": trees, "date": trees, "interview": trees}
)


def check_promises(reading):
    assert set(reading.fields) <= set(FIELDS) - {"finished_at", "last_event"}
    assert len(reading.identity) <= 421
    assert 0 <= reading.occurred_at < 2**63
    texts = [value for value in reading.fields.values() if isinstance(value, str)]
    for text in [*texts, reading.identity, reading.name, reading.interview_id, reading.reason]:
        assert "\0" not in text
        text.encode()


@given(st.binary())
def test_no_bytes_raise(raw):
    reading = read(raw, NOW)
    check_promises(reading)
    assert reading.kind is EventKind.UNREADABLE or raw.lstrip().startswith(b"{")


@given(envelopes | anything, st.booleans())
def test_no_json_raises_and_what_comes_out_can_be_stored(envelope, ascii_only):
    raw = json.dumps(envelope, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    reading = read(raw, NOW)
    check_promises(reading)
    assert (reading.kind is EventKind.UNREADABLE) == bool(reading.reason)


texts = st.text(
    st.characters(exclude_categories=["Cc", "Cs"], exclude_characters="\ufffd"), min_size=1, max_size=5
).filter(lambda text: clean(text) == text.lstrip("#") and not text.isspace())
events = st.tuples(st.integers(10**11, NOW), texts, texts | names)


@given(events, events)
def test_different_events_have_different_identities(one, other):
    assume([one[:2], one[2].lower()] != [other[:2], other[2].lower()])
    identities = [read(body(event, {"id": iid}, date=date), NOW).identity for date, iid, event in (one, other)]
    assert identities[0] != identities[1]


@given(events, st.dictionaries(st.text(max_size=3), words | st.integers() | st.none(), max_size=3))
def test_a_repeat_with_other_contents_has_the_same_identity(event, extra):
    date, iid, name = event
    again = read(body(name, {**extra, "id": iid}, date=date), NOW)
    assert again.identity == read(body(name, {"id": iid}, date=date), NOW + 5).identity
