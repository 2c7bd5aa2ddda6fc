"""The console: what a person reads, and what hostile text cannot do to a terminal."""

from __future__ import annotations

import asyncio
import io
import os
import threading
import unicodedata
from dataclasses import replace
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.sink import Delivered, SinkBroken, Stage
from connector.testing import START, FakeContext, make_batch, make_delivery, make_event, make_interview, run_batch
from sinks.console import SINK, ConsoleConfig, message, plain

UTC = ZoneInfo("UTC")


def make_console(**settings):
    sink = SINK("terminal", ConsoleConfig(**settings))
    sink.stream = io.StringIO()
    return sink


def told(event, **interview):
    return message(make_delivery(event, make_interview(**interview)), UTC)


async def printed(*deliveries, **settings):
    sink = make_console(**settings)
    result = await run_batch(sink, deliveries, FakeContext())
    assert result.outcomes == [Delivered()] * len(deliveries)
    return sink.stream.getvalue()


async def test_a_finish_is_told_with_person_position_stage_and_link():
    text = await printed(make_delivery(make_event(), make_interview(score=4.5)))
    assert text == (
        "2025-09-10 10:26 UTC  Wayne Knight 1 finished the interview for Graduate Program\n"
        "    Stage: To evaluate · Score: 4.5\n"
        "    Review: https://admin.hireflix.com/interview/643e972db7d39e63cf000001\n"
    )


async def test_the_time_is_local_and_says_so():
    assert (await printed(make_delivery(), timezone="Europe/Madrid")).startswith("2025-09-10 12:26 CEST ")


@pytest.mark.parametrize(
    ("event", "interview", "headline"),
    [
        (make_event("interview.create"), {}, "Wayne Knight 1 was invited to Graduate Program"),
        (make_event("interview.finish"), {}, "Wayne Knight 1 finished the interview for Graduate Program"),
        (
            make_event("interview.status-change"),
            {"stage": Stage.SHORTLISTED},
            "Wayne Knight 1 is now “Shortlisted” for Graduate Program",
        ),
        (make_event("interview.score-updated", score=4.0), {}, "Wayne Knight 1 was scored 4 for Graduate Program"),
        (
            make_event("interview.score-updated", score=None),
            {},
            "Wayne Knight 1 has no score any more for Graduate Program",
        ),
        (make_event("interview.paused"), {}, "Wayne Knight 1, Graduate Program: interview.paused"),
        (
            make_event(),
            {"candidate_name": None, "position_name": ""},
            "A candidate finished the interview for a position without a name",
        ),
    ],
)
def test_each_event_has_its_headline(event, interview, headline):
    assert told(event, **interview).splitlines()[0] == f"2025-09-10 10:26 UTC  {headline}"


def test_a_deleted_interview_is_told_without_the_name_and_the_link():
    text = told(make_event("interview.delete"), stage=Stage.DELETED)
    assert text == "2025-09-10 10:26 UTC  An interview for Graduate Program was deleted\n"


def test_no_message_shows_e_mail_or_phone():
    texts = [
        told(make_event(name), candidate_email="wayne@example.com", candidate_phone="+15550100")
        for name in ("interview.create", "interview.finish", "interview.status-change", "interview.score-updated")
    ]
    assert "wayne@example.com" not in "".join(texts)
    assert "+15550100" not in "".join(texts)


@pytest.mark.parametrize(
    ("name", "shown"),
    [("ana.k@example.com", "A candidate"), ("+34 600 111 222", "A candidate"), ("Ana K <ana.k@example.com>", "Ana K")],
)
def test_an_e_mail_address_or_phone_number_in_the_name_is_not_shown(name, shown):
    line = told(make_event(), candidate_name=name).splitlines()[0]
    assert line == f"2025-09-10 10:26 UTC  {shown} finished the interview for Graduate Program"


def test_the_facts_are_those_of_the_event():
    """A score that came later belongs to a later message."""
    event = make_event("interview.score-updated", score=3.5)
    later = make_interview(score=1, stage=Stage.SHORTLISTED)
    later = replace(later, dates={**later.dates, "score": START + 1, "finalist": START + 1})
    text = message(make_delivery(event, later), UTC)
    assert "was scored 3.5 for" in text
    assert "Score: 3.5" in text
    assert "Score: 1" not in text
    assert "Shortlisted" not in text


def test_what_only_later_events_say_is_left_out():
    later = make_interview(score=1, stage=Stage.SHORTLISTED)
    later = replace(later, dates={**later.dates, "score": START + 1, "finalist": START + 1})
    lines = message(make_delivery(make_event("interview.status-change"), later), UTC).splitlines()
    assert lines[0].endswith("Wayne Knight 1 changed stage for Graduate Program")
    assert "Score" not in "".join(lines)


def test_a_late_event_of_a_deleted_interview_does_not_name_the_candidate():
    text = told(make_event(), stage=Stage.DELETED)
    assert text == "2025-09-10 10:26 UTC  A candidate finished the interview for Graduate Program\n"


async def test_what_is_late_is_settled_and_not_printed():
    assert await printed(make_delivery(number=1, late=True), make_delivery(number=2)) == message(
        make_delivery(number=2), UTC
    )


def test_the_age_limit_is_a_day_unless_set():
    assert (make_console().max_age, make_console(max_age=60).max_age) == (86_400, 60)


def test_a_link_that_is_no_web_address_is_not_shown():
    assert "Review" not in told(make_event(), review_url="javascript:alert(1)")


@pytest.mark.parametrize(
    ("hostile", "harmless"),
    [
        ("\x1b]0;owned\x07Wayne", "]0;ownedWayne"),
        ("\x1b[2J\x1b[31mWayne", "[2J[31mWayne"),
        ("\u202eenyaW\u2066", "enyaW"),
        ("a\r\nb\u2028c\td", "a b c d"),
        ("\x9b31mred", "31mred"),
        ("a\ud800b", "ab"),
        ("x" * 200, "x" * 119 + "…"),
        ("می\u200cخواهم", "می\u200cخواهم"),
    ],
)
def test_hostile_text_is_neutralised(hostile, harmless):
    assert plain(hostile) == harmless


@given(st.text())
def test_no_text_moves_the_cursor_or_reverses_the_order(text):
    kinds = {unicodedata.category(char) for char in plain(text) if char not in "\u200c\u200d"}
    assert not kinds & {"Cc", "Cf", "Cs", "Zl", "Zp"}
    assert len(plain(text)) <= 120


@given(name=st.text(), position=st.text(), stage=st.text(), event=st.text(min_size=1))
def test_one_event_is_three_lines_at_most_whatever_it_holds(name, position, stage, event):
    text = told(
        make_event(event), stage=Stage.UNKNOWN, status=stage, candidate_name=name, position_name=position, score=1
    )
    assert text.endswith("\n")
    assert len(text.splitlines()) <= 3


async def test_a_terminal_without_unicode_gets_question_marks():
    sink = make_console()
    raw = io.BytesIO()
    sink.stream = io.TextIOWrapper(raw, encoding="ascii")
    await run_batch(sink, [make_delivery(make_event(), make_interview(candidate_name="Zoë"))], FakeContext())
    assert b"Zo? finished" in raw.getvalue()


async def test_a_reader_that_went_away_breaks_the_sink_with_a_fix():
    reader, writer = os.pipe()
    os.close(reader)
    sink = make_console()
    sink.stream = io.TextIOWrapper(io.FileIO(writer, "w"), encoding="utf-8", write_through=True)
    with pytest.raises(SinkBroken, match="standard output") as broken:
        await run_batch(sink, [make_delivery()], FakeContext())
    assert broken.value.fix
    sink.stream.close()


async def test_a_closed_output_breaks_the_sink_and_an_open_one_mends_it():
    sink = make_console()
    sink.stream.close()
    with pytest.raises(SinkBroken):
        await run_batch(sink, [make_delivery()], FakeContext())
    sink.stream = io.StringIO()
    await run_batch(sink, [make_delivery()], FakeContext())
    assert sink.stream.getvalue()


class Stuck(io.StringIO):
    """An output whose reader stopped reading until `go`."""

    def __init__(self):
        super().__init__()
        self.go = threading.Event()

    def write(self, text):
        self.go.wait()
        return super().write(text)


async def test_a_reader_that_stopped_reading_delays_nobody_and_reads_everything_once():
    sink = make_console()
    sink.stream = Stuck()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await run_batch(sink, [make_delivery()], FakeContext(), id="b1")
    sink.stream.go.set()
    result = await run_batch(sink, [make_delivery()], FakeContext(), id="b1", maybe_sent=True)
    assert result.outcomes == [Delivered()]
    assert sink.stream.getvalue() == message(make_delivery(), UTC)


async def test_standard_output_is_used_and_flushed(capsys):
    await run_batch(SINK("terminal", ConsoleConfig()), [make_delivery()], FakeContext())
    assert capsys.readouterr().out == message(make_delivery(), UTC)


async def test_the_preview_is_the_message_and_prints_nothing():
    sink = make_console()
    assert await sink.preview(make_batch(), FakeContext()) == [message(make_delivery(), UTC)]
    assert sink.stream.getvalue() == ""


def test_nothing_is_told_without_an_event_or_an_interview():
    assert message(make_delivery(state=True), UTC) == ""
    assert message(make_delivery(interview=make_interview(), event=make_event()), UTC) != ""


def test_the_notes_belong_to_standard_output():
    assert (make_console().destination, SINK.max_batch, SINK.state) == ("stdout", 100, False)
