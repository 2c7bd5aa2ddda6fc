"""Notes that an earlier version wrote are read as if this version had written them; how long a digest grows."""

from __future__ import annotations

from typing import Any

from connector.testing import START, make_interview
from sinks.chat.record import DigestRecord, InterviewRecord

ANNOUNCED_1 = {"announced": True, "score": 4, "score_at": 1, "stage": "Shortlisted", "stage_at": 2}
ANNOUNCED = {"finished": True, "score": 4, "score_ms": 1, "stage": "Shortlisted", "stage_ms": 2}
INTENT_1: dict[str, Any] = {"k": "d-1", "at": START, "thread": "1.1", "plain": "invalid_blocks", "mention": "<!here>"}
INTENT: dict[str, Any] = {
    "delivery_id": "d-1",
    "at_ms": START,
    "thread": "1.1",
    "fallback_error": "invalid_blocks",
    "mention": "<!here>",
}
DUPLICATE_1 = {"k": "d-0", "ts": "1.1", "thread": "", "since": START, "at": START + 1}
DUPLICATE = {"delivery_id": "d-0", "message_id": "1.1", "thread": "", "since_ms": START, "at_ms": START + 1}


def test_a_note_of_version_1_about_an_interview_loses_nothing() -> None:
    old = {
        "told": ANNOUNCED_1,
        "ts": "1.1",
        "hash": "abc",
        "extra": ["1.2"],
        "former": ["1.0"],
        "gone": True,
        "locked": True,
        "wanted": True,
        "invited": "d-2",
        "plain": "invalid_blocks",
        "intent": {**INTENT_1, "said": [{"told": ANNOUNCED_1, "hash": "abc"}]},
        "dups": [DUPLICATE_1],
    }
    assert InterviewRecord.read("i", old) == InterviewRecord(
        "i",
        announced=ANNOUNCED,
        message_id="1.1",
        content_hash="abc",
        named_reply_ids=["1.2"],
        superseded_ids=["1.0"],
        removed=True,
        thread_locked=True,
        needs_repost=True,
        counted_by="d-2",
        fallback_error="invalid_blocks",
        intent={**INTENT, "calls": [{"announced": ANNOUNCED, "content_hash": "abc"}]},
        possible_duplicates=[DUPLICATE],
    )


def test_a_note_of_version_1_about_a_digest_loses_nothing() -> None:
    old = {
        "counts": {"invited": 3},
        "position": "Cook",
        "first": 1,
        "last": 2,
        "began": 3,
        "at": 4,
        "ts": "1.1",
        "hash": "abc",
        "shown": {"invited": 2},
        "plain": "invalid_blocks",
        "waits": True,
        "intent": {**INTENT_1, "said": [{"counts": {"invited": 3}, "hash": "abc"}]},
        "dups": [DUPLICATE_1],
    }
    assert DigestRecord.read("p", old) == DigestRecord(
        "p",
        counts={"invited": 3},
        position="Cook",
        first_ms=1,
        last_ms=2,
        started_ms=3,
        updated_ms=4,
        message_id="1.1",
        content_hash="abc",
        shown_counts={"invited": 2},
        fallback_error="invalid_blocks",
        waits=True,
        intent={**INTENT, "calls": [{"counts": {"invited": 3}, "content_hash": "abc"}]},
        possible_duplicates=[DUPLICATE],
    )


def test_a_note_is_written_with_its_version_and_read_back_unchanged() -> None:
    record = InterviewRecord("i", announced=ANNOUNCED, message_id="1.1", intent={**INTENT, "calls": []})
    note = record.note()
    assert note is not None
    assert note["v"] == 2
    assert InterviewRecord.read("i", note) == record
    digest = DigestRecord("p", counts={"invited": 1}, started_ms=3)
    assert DigestRecord.read("p", digest.note()) == digest


def test_a_field_of_a_later_version_does_no_harm() -> None:
    assert InterviewRecord.read("i", {"v": 3, "message_id": "1.1", "colour": "red"}).message_id == "1.1"


def test_a_message_without_a_known_id_is_remembered() -> None:
    note = InterviewRecord("i", message_id="").note()
    assert InterviewRecord.read("i", note).is_shown


def test_a_record_of_nothing_leaves_no_note() -> None:
    assert (InterviewRecord("i").note(), DigestRecord("p").note()) == (None, None)


def test_a_burst_that_goes_on_for_days_has_a_new_digest_each_day() -> None:
    """Without an idle time of ten minutes, which would end a digest before."""
    interview, minute_ms, posted_at_minutes = make_interview(), 60_000, []
    digest = DigestRecord("position")
    for minute in range(0, 2 * 24 * 60, 9):
        at = START + minute * minute_ms
        digest = digest.at(["finished"], at, "UTC")
        digest = digest.counting(["finished"], interview, at, delivery_id="d-1", occurred_at=at)
        if not digest.message_id:
            posted_at_minutes.append(minute)
            digest = digest.posted("1.1", {"counts": digest.counts, "content_hash": "abc"})
        digest = digest.shown("abc")
    assert posted_at_minutes == [0, 24 * 60 + 9]
