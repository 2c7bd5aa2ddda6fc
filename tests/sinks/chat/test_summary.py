"""The figures of the weekly summary, and its text."""

from datetime import date

from connector.languages import language
from connector.sink import Stage
from connector.testing import START, make_interview
from sinks.chat.content import as_text
from sinks.chat.summary import decided_at, figures_of, summary_content

DAY = 86_400_000
START_OF_WEEK = date(2026, 3, 2)
ENGLISH, SPANISH = language("en"), language("es")
END, BEGIN, BEFORE = START, START - 7 * DAY, START - 14 * DAY


def figures(*interviews):
    return figures_of(interviews, BEGIN, END, BEFORE)


def test_events_count_in_the_week_in_which_they_happened():
    (found,) = figures(
        make_interview(number=1, created_at=BEGIN, completed=END - 1),
        make_interview(number=2, created_at=BEGIN - 1, completed=END),
        make_interview(number=3, created_at=BEFORE - 1, completed=BEGIN - 1),
    ).values()
    assert (found.now.invited, found.now.finished) == (1, 1)
    assert (found.before.invited, found.before.finished) == (1, 1)


def test_a_decision_has_the_time_that_hireflix_gives_else_that_of_its_event():
    assert decided_at(make_interview(stage=Stage.SHORTLISTED, finalist=5)) == 5
    assert decided_at(make_interview(stage=Stage.DISCARDED, archived=True, dates={"archived": 7})) == 7
    assert decided_at(make_interview(stage=Stage.TO_EVALUATE, finalist=5)) is None


def test_the_time_to_a_decision_is_the_median():
    decided = [
        make_interview(number=n, stage=Stage.DISCARDED, archived=BEGIN + n * DAY, completed=BEGIN, created_at=1)
        for n in (1, 2, 6)
    ]
    text = as_text(summary_content(figures(*decided), START_OF_WEEK, ENGLISH))
    assert text == (
        "📊 Week of 2 March\n"
        "Graduate Program: 0 invited (+0), 3 finished (+3), 3 decided (+3), median 2 days to a decision\n"
        "in brackets: the difference from the week before"
    )


def test_the_summary_is_in_the_language_of_the_chat():
    decided = [make_interview(stage=Stage.DISCARDED, archived=BEGIN + DAY, completed=BEGIN, created_at=1)]
    text = as_text(summary_content(figures(*decided), START_OF_WEEK, SPANISH))
    assert text == (
        "📊 Semana del 2 de marzo\n"
        "Graduate Program: 0 invitaciones (+0), 1 terminó (+1), 1 decisión (+1), "
        "mediana de 1 día hasta la decisión\n"
        "entre paréntesis: la diferencia con la semana anterior"
    )


def test_the_difference_to_the_week_before_is_shown():
    interviews = [make_interview(number=n, created_at=BEGIN - 5, completed=None) for n in range(3)]
    interviews += [make_interview(number=n, created_at=BEGIN + 5, completed=None) for n in range(3, 5)]
    text = as_text(summary_content(figures(*interviews), START_OF_WEEK, ENGLISH))
    assert "2 invited (-1), 0 finished (+0)" in text


def test_the_busiest_position_comes_first_and_deleted_interviews_do_not_count():
    few = make_interview(number=1, position_id="p1", position_name="Few", created_at=BEGIN, completed=None)
    many = [
        make_interview(number=n, position_id="p2", position_name="Many", created_at=BEGIN, completed=None)
        for n in (2, 3)
    ]
    gone = make_interview(number=4, position_id="p3", position_name="Gone", stage=Stage.DELETED, created_at=BEGIN)
    lines = as_text(summary_content(figures(few, gone, *many), START_OF_WEEK, ENGLISH)).splitlines()[1:-1]
    assert [line.split(":")[0] for line in lines] == ["Many", "Few"]


def test_a_position_without_news_in_two_weeks_is_left_out():
    assert figures(make_interview(created_at=BEFORE - 1, completed=BEFORE - 1)) == {}
