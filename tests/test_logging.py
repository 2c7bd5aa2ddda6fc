"""A log contains no secret, no text of an exception and no control character."""

from __future__ import annotations

import io
import json
import logging

import pytest
import structlog
from structlog.testing import capture_logs

from connector.errors import ConnectorError
from connector.logging import FRAMES_MAX, HIDDEN, TEXT_MAX, masked, set_up, with_exception

HOSTILE = 300_000


@pytest.fixture
def logged():
    """Sets up logging to a stream; returns what was logged."""
    stream = io.StringIO()
    set_up("json", "info", stream)
    return lambda: [json.loads(line) for line in stream.getvalue().splitlines()]


def fail(error=None):
    raise error or ValueError("Jane Doe")


def mask(**event):
    return masked(None, "info", event)


@pytest.mark.parametrize(
    "text",
    [
        "jane.doe+cv@mail.example.org",
        "xoxb-123-abc",
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "ya29.a0AfH6SM-x_y",
        "Bearer eyJhbGciOi",
        "hooks.slack.com/services/T0/B0/abc",
        "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBg\n-----END PRIVATE KEY-----",
        "user:p4ss:word@",
        ":p4ssword@",
    ],
)
def test_what_looks_like_a_secret_or_an_address_is_hidden(text):
    """At any place in a text."""
    before = "postgresql://" if text.endswith("@") else "see "
    logged_event = mask(event=f"{before}{text}")["event"]
    assert HIDDEN in logged_event
    for part in text.replace("\n", " ").strip("@:").split():
        assert part not in logged_event


@pytest.mark.parametrize(
    "address", ["bot@hiring-1.iam.gserviceaccount.com", "bot@hiring-1.example.org.iam.gserviceaccount.com"]
)
@pytest.mark.parametrize("after", ["", ".", " as editor", ","])
def test_the_address_of_a_service_account_is_shown(address, after):
    """It is not personal data, and a fix names it as the address to share the sheet with."""
    text = f"share the sheet with {address}{after}"
    assert mask(event="x", fix=text)["fix"] == text


@pytest.mark.parametrize(
    "address",
    [
        "jane@iam.gserviceaccount.com",
        "jane@hiring-1.iam.gserviceaccount.com.example.org",
        "jane@hiring-1.iam.gserviceaccount.community",
        "jane@hiring-1.iam.gserviceaccount.com-example.org",
        "jane@example.org",
    ],
)
def test_what_only_looks_like_one_is_hidden(address):
    assert mask(event="x", fix=f"ask {address}")["fix"] == f"ask {HIDDEN}"


@pytest.mark.parametrize("name", ["token", "api_key", "webhook_secret", "x-hireflix-signature"])
def test_what_is_named_like_a_secret_is_hidden(name):
    """In tables and lists as well."""
    assert mask(event="x", settings=[{name: "s3cr3t"}])["settings"] == [{name: HIDDEN}]


@pytest.mark.parametrize(
    "text",
    [
        "a" * HOSTILE,
        "a." * HOSTILE,
        "a@b" * HOSTILE,
        "a@a" + "-a" * HOSTILE,
        "://" + "a" * HOSTILE,
    ],
)
def test_a_long_hostile_text_is_cut_in_a_short_time(text):
    """A search that went back for each character would take hours here."""
    assert len(mask(event="x", value=text)["value"]) == TEXT_MAX


def test_text_cannot_control_a_terminal():
    """Escape sequences, line ends and marks that turn text around become harmless."""
    assert mask(event="x", value="a\x1b[2J\rb\nc\u202ed")["value"] == "a[2J b cd"


def test_an_exception_given_as_a_value_is_logged_by_type_and_place():
    """Its text may contain the text of a candidate."""
    try:
        fail()
    except ValueError as error:
        logged_event = mask(event="x", error=error)["error"]
    assert logged_event.startswith("ValueError at tests.test_logging:")


def process(level, **event):
    return with_exception(None, level, {"level": level, **event})


def test_below_error_an_exception_has_neither_text_nor_traceback():
    """And of a message of several lines the first is kept."""
    try:
        fail()
    except ValueError:
        logged_event = process("warning", event="failed\nJane Doe", exc_info=True)
    assert logged_event["event"] == "failed"
    assert "exception" not in logged_event
    assert "Jane" not in json.dumps(logged_event)


@pytest.mark.parametrize("level", ["error", "critical"])
@pytest.mark.parametrize("name", ["exc_info", "error"])
def test_from_error_on_an_exception_has_its_frames_without_its_message(level, name):
    try:
        fail()
    except ValueError as error:
        logged_event = process(level, event="failed", **{name: error})
    lines = logged_event["exception"].splitlines()
    assert [line.rpartition(" in ")[2] for line in lines[:-1]] == [
        "test_from_error_on_an_exception_has_its_frames_without_its_message",
        "fail",
    ]
    assert lines[-1] == f"ValueError: {HIDDEN}"


def test_the_message_of_an_error_of_our_own_is_shown_with_secrets_hidden():
    try:
        fail(ConnectorError("no answer for jane@example.org"))
    except ConnectorError as error:
        logged_event = process("error", event="failed", error=error)
    assert logged_event["exception"].endswith(f"ConnectorError: no answer for {HIDDEN}")


def test_a_cause_is_shown_before_what_it_caused():
    try:
        try:
            fail()
        except ValueError as error:
            raise KeyError("Jane") from error
    except KeyError as error:
        lines = process("error", event="failed", error=error)["exception"].splitlines()
    assert [line.partition(":")[0] for line in lines if line.endswith(HIDDEN)] == ["ValueError", "KeyError"]


def test_an_exception_that_is_its_own_cause_is_logged_once():
    try:
        try:
            fail()
        except ValueError as error:
            raise error from error
    except ValueError as error:
        lines = process("error", event="failed", error=error)["exception"].splitlines()
    assert [line for line in lines if line.endswith(HIDDEN)] == [f"ValueError: {HIDDEN}"]


def test_an_own_field_of_that_name_is_hidden_like_any_other():
    entry = process("warning", event="failed", exception="jane@example.org")
    assert entry["exception"] == HIDDEN


def test_a_deep_traceback_is_shortened_in_the_middle():
    def dive(depth):
        return dive(depth - 1) if depth else fail()

    try:
        dive(200)
    except ValueError as error:
        lines = process("error", event="failed", error=error)["exception"].splitlines()
    assert len(lines) == FRAMES_MAX + 2
    assert lines[-2].endswith(" in fail")


def test_a_traceback_is_one_line_of_json(logged):
    try:
        fail()
    except ValueError as error:
        structlog.get_logger("x").error("failed", error=error)
    [line] = logged()
    assert line["exception"].splitlines()[-1] == f"ValueError: {HIDDEN}"


def test_what_libraries_log_passes_here_too(logged):
    """With their exceptions, even when a library configured its own logger."""
    try:
        fail()
    except ValueError:
        logging.getLogger("some.library").exception("could not write to %s", "jane@example.org")
    (line,) = logged()
    assert line["event"] == f"could not write to {HIDDEN}"
    assert line["error"].startswith("ValueError at tests.test_logging:")
    assert "Jane" not in json.dumps(line)


@pytest.mark.parametrize("name", ["httpx", "slack_sdk.web.async_client", "google.auth.transport"])
def test_libraries_that_log_addresses_are_quiet(logged, name):
    """They log nothing below level WARNING."""
    logging.getLogger(name).info("POST https://example.org/secret")
    assert logged() == []


def test_invalid_requests_cannot_fill_the_log(logged):
    """The server warns of each request that is not HTTP; one line a minute is enough. Its errors are all logged."""
    for _ in range(3):
        logging.getLogger("uvicorn.error").warning("Invalid HTTP request received.")
        logging.getLogger("uvicorn.error").error("Exception in ASGI application")
    assert [line["event"] for line in logged()] == [
        "Invalid HTTP request received.",
        *["Exception in ASGI application"] * 3,
    ]


def test_a_logger_follows_the_latest_set_up():
    """Also one that has logged before, so that no line goes to a stream of an earlier set-up."""
    log, first, second = structlog.get_logger("connector.test"), io.StringIO(), io.StringIO()
    set_up("json", "info", first)
    log.info("first")
    set_up("json", "info", second)
    with capture_logs() as captured:
        log.info("captured")
    log.info("second")
    assert [line["event"] for line in captured] == ["captured"]
    assert [json.loads(line)["event"] for line in first.getvalue().splitlines()] == ["first"]
    assert [json.loads(line)["event"] for line in second.getvalue().splitlines()] == ["second"]
