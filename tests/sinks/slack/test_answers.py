"""Every error string in its class, and what each class of answer means."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sinks.chat.service import Status
from sinks.slack.client import STATUSES, read_answer, read_webhook
from sinks.slack.diagnostics import broken, reason_and_fix

WORDS_OF = {
    Status.THROTTLED: ["ratelimited", "rate_limited", "message_limit_exceeded"],
    Status.TRANSIENT: ["service_unavailable", "request_timeout", "team_added_to_org", "org_login_required"],
    Status.UNCLEAR: ["internal_error", "fatal_error", "duplicate_message_not_found"],
    Status.BROKEN: [
        "invalid_auth",
        "token_revoked",
        "missing_scope",
        "channel_not_found",
        "is_archived",
        "accesslimited",
    ],
    Status.REJECTED: ["invalid_blocks", "msg_too_long", "no_text", "metadata_too_large", "invalid_arguments"],
    Status.MISSING: ["message_not_found", "thread_not_found"],
    Status.LOCKED: ["cant_update_message", "cannot_reply_to_message"],
    Status.UNKNOWN: ["brand_new_error"],
}


@pytest.mark.parametrize(
    ("expected", "word"), [(expected, word) for expected, words in WORDS_OF.items() for word in words]
)
def test_an_error_string_has_its_class(expected: Status, word: str) -> None:
    result = read_answer(200, {"ok": False, "error": word}, {})
    assert (result.status, result.error) == (expected, word)


def test_every_class_of_the_table_is_tested_and_no_success_is_in_it() -> None:
    assert set(STATUSES.values()) == WORDS_OF.keys() - {Status.UNKNOWN}


@pytest.mark.parametrize("word", sorted(STATUSES))
def test_a_5xx_is_unclear_whatever_its_body_says(word: str) -> None:
    assert read_answer(503, {"ok": False, "error": word}, {}).status is Status.UNCLEAR


@pytest.mark.parametrize(
    ("status", "data", "expected", "error"),
    [
        (200, {"ok": True, "ts": "1.2"}, Status.OK, ""),
        (200, {"ok": "true"}, Status.UNCLEAR, "unreadable answer"),
        (200, {}, Status.UNCLEAR, "unreadable answer"),
        (200, [], Status.UNCLEAR, "unreadable answer"),
        (200, None, Status.UNCLEAR, "unreadable answer"),
        (200, {"ok": False, "error": "Some sentence with a name in it"}, Status.UNCLEAR, "unreadable answer"),
        (429, None, Status.THROTTLED, "http 429"),
        (429, {"ok": False, "error": "ratelimited"}, Status.THROTTLED, "ratelimited"),
        (500, "<html>", Status.UNCLEAR, "http 500"),
        (0, None, Status.UNCLEAR, "http 0"),
        (404, "<html>", Status.BROKEN, "http 404"),
        (407, None, Status.BROKEN, "http 407"),
        (400, None, Status.BROKEN, "http 400"),
        (403, {"ok": False, "error": "invalid_auth"}, Status.BROKEN, "invalid_auth"),
    ],
)
def test_answers_of_the_web_api(status: int, data: object, expected: Status, error: str) -> None:
    result = read_answer(status, data, {})
    assert (result.status, result.error) == (expected, error)


@pytest.mark.parametrize(
    ("status", "text", "expected", "error"),
    [
        (200, "ok", Status.OK, ""),
        (200, "<html>welcome</html>", Status.UNCLEAR, "unreadable answer"),
        (400, "invalid_payload", Status.REJECTED, "invalid_payload"),
        (400, "something else", Status.REJECTED, "http 400"),
        (403, "action_prohibited", Status.BROKEN, "action_prohibited"),
        (404, "no_service", Status.BROKEN, "no_service"),
        (404, "<html>", Status.BROKEN, "http 404"),
        (410, "channel_is_archived", Status.BROKEN, "channel_is_archived"),
        (429, '{"retry_after":1,"ok":false,"error":"rate_limited"}', Status.THROTTLED, "http 429"),
        (500, "rollup_error", Status.UNCLEAR, "http 500"),
    ],
)
def test_answers_of_a_webhook(status: int, text: str, expected: Status, error: str) -> None:
    result = read_webhook(status, text, {})
    assert (result.status, result.error) == (expected, error)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["ok", "error", "errors"]), inner),
    max_leaves=6,
)


@given(st.integers(0, 600), json_values)
def test_any_answer_has_a_class_and_a_short_label(status: int, data: object) -> None:
    result = read_answer(status, data, {})
    assert (result.status is Status.OK) == (result.error == "")
    assert len(result.error) <= 61
    assert len(result.detail) <= 120


def test_the_detail_keeps_slacks_pointers() -> None:
    data = {"ok": False, "error": "invalid_blocks", "errors": ["too long [json-pointer:/blocks/0]"]}
    assert read_answer(200, data, {}).detail == "invalid_blocks; too long [json-pointer:/blocks/0]"


@pytest.mark.parametrize("word", sorted(word for word, expected in STATUSES.items() if expected is Status.BROKEN))
def test_everything_broken_comes_with_a_fix(word: str) -> None:
    error = broken(read_answer(200, {"ok": False, "error": word}, {}), "C0123456789")
    assert word in error.reason
    assert "C0123456789" in error.reason
    assert len(error.reason) <= 120
    assert len(error.fix) > 20


def test_a_missing_scope_is_named_in_the_fix() -> None:
    data = {"ok": False, "error": "missing_scope", "needed": "chat:write", "provided": "channels:read"}
    what, fix = reason_and_fix(read_answer(200, data, {}))
    assert what == "the app lacks the scope chat:write"
    assert fix.startswith("add the bot scope chat:write under OAuth & Permissions, then reinstall the app")
    assert "channels:read" in fix


def test_a_channel_that_is_not_found_says_how_to_invite() -> None:
    _, fix = reason_and_fix(read_answer(200, {"ok": False, "error": "channel_not_found"}, {}))
    assert "/invite @" in fix
