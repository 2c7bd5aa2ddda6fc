"""The console: what users read, and what hostile text cannot do to a terminal."""

from __future__ import annotations

import asyncio
import io
import os
import threading
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connector.capabilities import Preview
from connector.sink import Delivered, SinkBroken, Stage, Superseded
from connector.testing import START, FakeContext, make_batch, make_delivery, make_event, make_interview, run_batch
from sinks.console import Console, ConsoleConfig

LATER = START + 1000
FINISHED = (
    "2025-09-10 10:26 UTC  Wayne Knight 1 finished the interview · Graduate Program\n"
    "    To evaluate\n"
    "    Open in Hireflix: https://admin.hireflix.com/interview/643e972db7d39e63cf000001\n"
)


def make_console(**settings):
    sink = Console("terminal", ConsoleConfig(**settings))
    sink.stream = io.StringIO()
    return sink


async def printed(*deliveries, **settings):
    """What one call prints, and its outcomes."""
    sink = make_console(**settings)
    result = await run_batch(sink, deliveries, FakeContext())
    return sink.stream.getvalue(), result.outcomes


async def headline(event, **interview):
    text, _ = await printed(make_delivery(event, make_interview(**interview)))
    return text.splitlines()[0].removeprefix("2025-09-10 10:26 UTC  ")


async def test_a_finish_is_printed_with_person_position_stage_score_and_link():
    text, outcomes = await printed(make_delivery(make_event(), make_interview(score=4.5)))
    assert text == FINISHED.replace("To evaluate\n", "To evaluate · 4.5 of 5\n")
    assert outcomes == [Delivered()]


async def test_a_finish_after_the_invitation_is_printed_like_one_without():
    invited = make_delivery(make_event("interview.create"), make_interview(stage=Stage.PENDING, completed=None))
    text, _ = await printed(invited, make_delivery(make_event(), make_interview()))
    assert text.endswith(FINISHED)


async def test_the_time_is_local_with_its_zone():
    text, _ = await printed(make_delivery(), timezone="Europe/Madrid")
    assert text.startswith("2025-09-10 12:26 CEST ")


@pytest.mark.parametrize(
    ("event", "interview", "expected"),
    [
        (
            make_event("interview.create"),
            {"stage": Stage.PENDING, "completed": None},
            "Wayne Knight 1 was invited · Graduate Program",
        ),
        (make_event("interview.finish"), {}, "Wayne Knight 1 finished the interview · Graduate Program"),
        (
            make_event("interview.status-change"),
            {"stage": Stage.SHORTLISTED, "completed": None},
            "Wayne Knight 1 was shortlisted · Graduate Program",
        ),
        (make_event("interview.score-updated"), {"score": 4}, "Wayne Knight 1 was scored 4 of 5 · Graduate Program"),
        (
            make_event(),
            {"candidate_name": None, "position_name": ""},
            "A candidate finished the interview",
        ),
    ],
)
async def test_each_change_has_its_headline(event, interview, expected):
    assert await headline(event, **interview) == expected


async def test_a_change_is_printed_once_however_many_events_show_it():
    done = make_interview()
    names = ("interview.finish", "interview.status-change", "interview.finish")
    text, outcomes = await printed(*[make_delivery(make_event(name), done) for name in names])
    assert text == FINISHED
    assert outcomes == [Delivered(), Superseded("nothing new"), Superseded("nothing new")]


async def test_what_was_printed_in_an_earlier_call_is_not_printed_again():
    sink, context = make_console(), FakeContext()
    for name in ("interview.finish", "interview.status-change"):
        await run_batch(sink, [make_delivery(make_event(name))], context)
    assert sink.stream.getvalue() == FINISHED


async def test_a_later_message_shows_the_difference():
    first = make_delivery(make_event(), make_interview(score=3))
    scored = make_delivery(make_event("interview.score-updated"), make_interview(score=4, updated_at=LATER))
    text, _ = await printed(first, scored)
    assert text.splitlines()[3:5] == [
        "2025-09-10 10:26 UTC  Wayne Knight 1 was scored 4 of 5 · Graduate Program",
        "    Score 3 → 4",
    ]


async def test_a_deletion_is_printed_without_the_name_and_the_link():
    deleted = make_delivery(make_event("interview.delete"), make_interview(stage=Stage.DELETED))
    text, _ = await printed(make_delivery(), deleted)
    assert text == f"{FINISHED}2025-09-10 10:26 UTC  An interview was deleted · Graduate Program\n"


async def test_an_interview_deleted_before_its_first_message_is_not_mentioned():
    deleted = make_interview(stage=Stage.DELETED)
    deliveries = [make_delivery(make_event(name), deleted) for name in ("interview.delete", "interview.finish")]
    assert await printed(*deliveries) == ("", [Superseded("deleted before it was shown")] * 2)


async def test_no_message_shows_e_mail_or_phone():
    person = make_interview(candidate_email="wayne@example.com", candidate_phone="+15550100", score=4)
    names = ("interview.create", "interview.finish", "interview.status-change", "interview.score-updated")
    text, _ = await printed(*[make_delivery(make_event(name), person) for name in names])
    assert "Wayne" in text
    assert "wayne@example.com" not in text
    assert "+15550100" not in text


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("ana.k@example.com", "Candidate 000001"),
        ("+34 600 111 222", "Candidate 000001"),
        ("Ana K <ana.k@example.com>", "Ana K"),
    ],
)
async def test_an_e_mail_address_or_phone_number_in_the_name_is_not_shown(name, shown):
    assert await headline(make_event(), candidate_name=name) == f"{shown} finished the interview · Graduate Program"


@pytest.mark.parametrize(("privacy", "shown"), [("initials", "W. K. 1."), ("none", "Candidate 000001")])
async def test_privacy_decides_how_a_candidate_is_named(privacy, shown):
    text, _ = await printed(make_delivery(), privacy=privacy)
    assert f"  {shown} finished the interview" in text
    assert "Wayne" not in text


async def test_what_is_late_is_settled_and_not_printed():
    text, outcomes = await printed(make_delivery(number=1, late=True), make_delivery(number=2))
    assert outcomes == [Superseded("it is older than max_age"), Delivered()]
    assert text.count("finished") == 1


def test_the_age_limit_is_a_day_unless_set():
    assert (make_console().max_age, make_console(max_age=60).max_age) == (86_400, 60)


@pytest.mark.parametrize("url", ["javascript:alert(1)", "https://evil.example/hireflix.com"])
async def test_a_link_that_does_not_lead_to_hireflix_is_not_shown(url):
    text, _ = await printed(make_delivery(make_event(), make_interview(review_url=url)))
    assert "Review" not in text


@settings(deadline=None)
@given(name=st.text(), position=st.text(), stage=st.text())
def test_no_text_moves_the_cursor_reverses_the_order_or_adds_lines(name, position, stage):
    hostile = make_interview(stage=Stage.UNKNOWN, status=stage, candidate_name=name, position_name=position, score=1)
    text, _ = asyncio.run(printed(make_delivery(make_event(), hostile)))
    lines = text.splitlines()
    assert len(lines) == 3
    shown = {char for line in lines for char in line} - {"\u200c", "\u200d"}
    assert not {unicodedata.category(char) for char in shown} & {"Cc", "Cs", "Zl", "Zp"}
    assert not shown & set("\u202a\u202b\u202d\u202e\u2066\u2067\u2068")


@pytest.mark.parametrize(
    ("hostile", "harmless"),
    [
        ("\x1b]0;owned\x07Wayne", "]0;ownedWayne"),
        ("\x1b[2J\x1b[31mWayne", "[2J[31mWayne"),
        ("\u202eenyaW\u2066", "enyaW"),
        ("a\r\nb\u2028c\td", "a b c d"),
        ("a\ud800b", "ab"),
        ("x" * 200, "x" * 79 + "…"),
        ("می\u200cخواهم", "می\u200cخواهم"),
    ],
)
async def test_hostile_text_is_neutralised(hostile, harmless):
    shown = await headline(make_event(), candidate_name=hostile)
    assert shown == f"{harmless} finished the interview · Graduate Program"


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


async def test_a_closed_output_breaks_the_sink_and_an_open_one_prints_everything():
    sink = make_console()
    sink.stream.close()
    with pytest.raises(SinkBroken):
        await run_batch(sink, [make_delivery()], FakeContext())
    sink.stream = io.StringIO()
    await run_batch(sink, [make_delivery()], FakeContext())
    assert sink.stream.getvalue() == FINISHED


class Stuck(io.StringIO):
    """An output whose reader does not read until `go`."""

    def __init__(self):
        super().__init__()
        self.go = threading.Event()

    def write(self, text):
        self.go.wait()
        return super().write(text)


async def test_a_reader_that_stopped_reading_delays_nothing_else_and_reads_everything_once():
    sink = make_console()
    sink.stream = Stuck()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await run_batch(sink, [make_delivery()], FakeContext(), id="b1")
    sink.stream.go.set()
    result = await run_batch(sink, [make_delivery()], FakeContext(), id="b1", maybe_sent=True)
    assert result.outcomes == [Delivered()]
    assert sink.stream.getvalue() == FINISHED


async def test_standard_output_is_used_and_flushed(capsys):
    await run_batch(Console("terminal", ConsoleConfig()), [make_delivery()], FakeContext())
    assert capsys.readouterr().out == FINISHED


async def test_the_preview_is_the_message_and_prints_nothing():
    sink = make_console()
    late = make_delivery(number=2, late=True)
    assert await sink.preview(make_batch(make_delivery(), late), FakeContext()) == [
        Preview(FINISHED),
        Preview("No message: it is older than max_age"),
    ]
    assert sink.stream.getvalue() == ""


def test_the_notes_belong_to_standard_output():
    assert (make_console().destination, Console.max_batch, Console.state) == ("stdout", 100, False)
