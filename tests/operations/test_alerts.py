"""Alerts: which ones exist, when messages about them are due, and how they are sent. Rules without a clock."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.languages import language
from connector.operations.alert_task import _Stored
from connector.operations.alerts import (
    OVER_SECONDS,
    REPEAT_SECONDS,
    Alert,
    Measured,
    Silence,
    alerts_of,
    due,
    for_sink,
    notice_of,
    observed,
    sent,
)
from connector.operations.status import HELD_FIX, SILENT_FIX, Health, ServiceStatus, Trouble, TroubleKind
from connector.store.schema import PauseKind
from connector.store.status import Refusals, SinkStatus, SourceStatus
from connector.testing import START

MINUTE, HOUR = 60_000, 3_600_000
PAUSED = Alert("paused", "hiring", "paused: the token was revoked", "set a new token")
DEAD = Alert("dead letters", "sheet", "2 dead letters")
SLOW = Alert("late", "ops", "the oldest delivery waits for 20 min")
ALL = (PAUSED, DEAD, SLOW)


def sink(name="hiring", **values):
    columns = {"reason": "", "fix": "", "pending": 0, "oldest_age_seconds": 0.0, "dead": 0, "delivered": 0}
    rest = {"last_delivered_at": None, "filling": False}
    return SinkStatus(**{"name": name, "type": "slack", "state": "ok"} | columns | rest | values)


def health(*sinks, receives=True, refused=(), last=None):
    source = SourceStatus(10, 5, 0, 0, last, list(refused))
    return Health(
        START, ServiceStatus(running=True, receives=receives, works=True, processes=[]), source, list(sinks), []
    )


def kinds(found, measured=None):
    return [(alert.kind, alert.subject) for alert in alerts_of(found, measured or Measured(), 900)]


class TestWhichAlertsThereAre:
    def test_a_healthy_installation_has_none(self):
        assert kinds(health(sink(), sink("sheet", in_sync=True, pending=3, oldest_age_seconds=899))) == []

    @pytest.mark.parametrize(("values", "kind"), [
        ({"state": "paused", "paused_by": PauseKind.BROKEN, "reason": "no access"}, "paused"),
        ({"oldest_age_seconds": 901.0}, "late"),
        ({"dead": 1}, "dead letters"),
        ({"in_sync": False}, "not in sync"),
    ])  # fmt: skip
    def test_trouble_of_a_sink(self, values, kind):
        assert kinds(health(sink(**values))) == [(kind, "hiring")]

    def test_a_repair_that_is_running_is_none(self):
        assert kinds(health(sink(in_sync=False, is_repairing=True))) == []

    def test_a_pause_by_an_operator_is_none(self):
        assert kinds(health(sink(state="paused", paused_by=PauseKind.OPERATOR, oldest_age_seconds=9999.0))) == []

    def test_no_receiver(self):
        assert kinds(health(receives=False)) == [("no receiver", "service")]

    @pytest.mark.parametrize(("count", "age", "accepted_age", "found"), [
        (3, 0, None, True),
        (3, 0, 1, True),
        (2, 0, None, False),  # a program that searches the internet
        (9, 2 * HOUR, None, False),
        (9, 5, 4, False),  # a correctly signed webhook came since
    ])  # fmt: skip
    def test_refused_signatures(self, count, age, accepted_age, found):
        last = None if accepted_age is None else START - accepted_age
        made = health(refused=[Refusals("signature", count, START - age)], last=last)
        assert kinds(made) == ([("signatures", "source")] if found else [])

    def test_what_reconcile_found_and_cannot_repair(self):
        troubles = [
            Trouble(
                "problem", TroubleKind.NO_WEBHOOKS, "source", "Hireflix changes and no webhook arrives", fix=SILENT_FIX
            ),
            Trouble(
                "warning", TroubleKind.HELD_DELETIONS, "source", "12 interviews are no longer in Hireflix", fix=HELD_FIX
            ),
            Trouble("warning", TroubleKind.UNKNOWN_EVENTS, "source", "1 event of kind unknown", fix="upgrade"),
        ]
        found = msgspec.structs.replace(health(), troubles=troubles)
        assert kinds(found) == [("no webhooks", "source"), ("held deletions", "source")]

    @pytest.mark.parametrize(
        ("kind", "subject", "alert"),
        [
            (TroubleKind.API_FAILED, "source", "api"),
            (TroubleKind.UNCLEAR_DECISIONS, "source", "decisions"),
            (TroubleKind.HELD_DECISIONS, "source", "decisions"),
            (TroubleKind.LATE_DECISIONS, "source", "decisions"),
            (TroubleKind.NOT_LISTENING, "hiring", "not listening"),
        ],
    )
    def test_what_keeps_decisions_and_missed_changes_back(self, kind, subject, alert):
        found = msgspec.structs.replace(health(), troubles=[Trouble("warning", kind, subject, "what", fix="do it")])
        assert [(each.kind, each.subject, each.text, each.fix) for each in alerts_of(found, Measured(), 900)] == [
            (alert, subject, "what", "do it")
        ]

    def test_decisions_that_wait_for_several_reasons_are_one_alert(self):
        troubles = [
            Trouble("problem", TroubleKind.UNCLEAR_DECISIONS, "source", "1 decision is unclear", fix="do or drop them"),
            Trouble("warning", TroubleKind.HELD_DECISIONS, "source", "8 decisions wait", fix="do or drop them"),
        ]
        [found] = alerts_of(msgspec.structs.replace(health(), troubles=troubles), Measured(), 900)
        assert (found.text, found.fix) == ("1 decision is unclear; 8 decisions wait", "do or drop them")

    @pytest.mark.parametrize(("seconds", "usual", "found"), [
        (2 * 3600, (9, 5, 7, 5), True),
        (2 * 3600, (9, 0, 7, 5), False),  # a quiet hour of the week
        (1800, (9, 9, 9, 9), False),
        (2 * 3600, (9, 9), False),
    ])  # fmt: skip
    def test_silence_of_the_source(self, seconds, usual, found):
        measured = Measured(silence=Silence(seconds, usual))
        assert kinds(health(), measured) == ([("silence", "source")] if found else [])

    @pytest.mark.parametrize(("free", "size", "found"), [
        (4 * 10**8, 10**9, True), (10**10, 10**12, False), (4 * 10**9, 10**12, True), (10**9, 10**10, False),
    ])  # fmt: skip
    def test_a_full_disk(self, free, size, found):
        assert kinds(health(), Measured(disk_free=free, disk_size=size)) == ([("disk", "service")] if found else [])

    def test_few_free_file_handles(self):
        assert kinds(health(), Measured(handles_used=950, handles_limit=1000)) == [("file handles", "service")]


class Simulation:
    """Evaluates the current alerts, sends what is due, and stores the state between two evaluations."""

    def __init__(self):
        self.now = START
        self.stored = msgspec.json.encode(_Stored())
        self.log = []

    def look(self, alerts, *, arrives=True):
        """Evaluates the alerts, and returns the due messages. With `arrives=False` no message can be sent."""
        before = msgspec.json.decode(self.stored, type=_Stored).alerts
        state = observed(before, alerts, self.now)
        found = due(state, self.now)
        if arrives:
            state = sent(state, found.keys, self.now)
            self.log += [(self.now, what, key) for what in ("new", "again", "over") for key in getattr(found, what)]
        self.stored = msgspec.json.encode(_Stored(alerts=state))
        return found


ENGLISH, SPANISH = language("en"), language("es")
STEPS = st.lists(
    st.tuples(
        st.sets(st.sampled_from(ALL)),
        st.sampled_from([MINUTE // 2, 5 * MINUTE, 15 * MINUTE, 3 * HOUR]),
        st.booleans(),
    ),
    max_size=40,
)


class TestWhenMessagesAreDue:
    def test_a_new_alert_is_due_at_once_and_again_after_the_interval(self):
        simulation = Simulation()
        assert set(simulation.look([PAUSED]).new) == {PAUSED.key}
        simulation.now += int(REPEAT_SECONDS * 1000) - 1
        assert simulation.look([PAUSED]).keys == set()
        simulation.now += 1
        assert set(simulation.look([PAUSED]).again) == {PAUSED.key}

    def test_an_alert_that_could_not_be_sent_is_due_again_at_the_next_look(self):
        simulation = Simulation()
        simulation.look([PAUSED], arrives=False)
        assert set(simulation.look([PAUSED]).new) == {PAUSED.key}

    def test_an_alert_that_left_before_it_was_sent_is_forgotten(self):
        simulation = Simulation()
        simulation.look([PAUSED], arrives=False)
        assert simulation.look([]).keys == set()
        assert msgspec.json.decode(simulation.stored, type=_Stored).alerts == {}

    def test_an_alert_that_comes_and_goes_makes_one_message(self):
        simulation = Simulation()
        for number in range(20):
            simulation.look([PAUSED] if number % 2 == 0 else [])
            simulation.now += MINUTE
        assert [what for _, what, _ in simulation.log] == ["new"]

    @given(STEPS)
    def test_each_alert_is_repeated_after_the_interval_and_its_end_is_sent_once(self, steps):
        """Per alert: first "new", then "again" not before the interval, then one "over", then "new" again."""
        simulation = Simulation()
        for alerts, pause, arrives in steps:
            simulation.look(alerts, arrives=arrives)
            simulation.now += pause
        for alert in ALL:
            before, sent_at = "over", 0
            for at, what, key in simulation.log:
                if key != alert.key:
                    continue
                assert (what == "new") == (before == "over")
                assert what != "again" or at - sent_at >= REPEAT_SECONDS * 1000
                before, sent_at = what, at

    @given(STEPS)
    def test_after_the_last_trouble_everything_is_over_and_nothing_is_stored(self, steps):
        simulation = Simulation()
        for alerts, pause, arrives in steps:
            simulation.look(alerts, arrives=arrives)
            simulation.now += pause
        simulation.look([])
        simulation.now += int(OVER_SECONDS * 1000)
        simulation.look([])
        last = {key: what for _, what, key in simulation.log}
        assert set(last.values()) <= {"over"}
        assert msgspec.json.decode(simulation.stored, type=_Stored).alerts == {}


class TestThroughWhat:
    def state_of(self, *alerts):
        state = observed({}, alerts, START)
        return state, due(state, START)

    def test_nothing_goes_through_a_sink_that_fails(self):
        state, found = self.state_of(PAUSED, SLOW, DEAD)
        assert for_sink(found, state, "hiring").keys == set()
        assert for_sink(found, state, "ops").keys == set()
        assert for_sink(found, state, "other").keys == {PAUSED.key, SLOW.key, DEAD.key}

    def test_nothing_about_a_sink_goes_through_itself(self):
        state, found = self.state_of(DEAD)
        assert for_sink(found, state, "sheet").keys == set()

    def test_one_message_holds_all_that_is_due(self):
        _, found = self.state_of(PAUSED, DEAD)
        notice = notice_of(found, START, ENGLISH)
        assert notice.title == "Hireflix connector: 2 new problems"
        assert list(notice.lines) == [
            "hiring: paused: the token was revoked. Do: set a new token",
            "sheet: 2 dead letters",
        ]

    def test_the_message_is_in_the_language_of_its_reader(self):
        _, found = self.state_of(PAUSED, DEAD)
        notice = notice_of(found, START, SPANISH)
        assert notice.title == "Conector de Hireflix: 2 problemas nuevos"
        assert notice.lines[0] == "hiring: paused: the token was revoked. Qué hacer: set a new token"

    def test_the_end_says_what_is_over_and_how_long_it_took(self):
        simulation = Simulation()
        simulation.look([DEAD])
        simulation.now += HOUR
        simulation.look([])
        simulation.now += 10 * MINUTE
        notice = notice_of(simulation.look([]), simulation.now, ENGLISH)
        assert notice.title == "Hireflix connector: 1 problem is over"
        assert list(notice.lines) == ["over: sheet: 2 dead letters (after 1 h)"]

    def test_the_same_message_has_the_same_id_and_another_one_another(self):
        _, found = self.state_of(PAUSED)
        assert notice_of(found, START, ENGLISH).id == notice_of(found, START + 5, ENGLISH).id
        assert notice_of(found, START, ENGLISH).id != notice_of(self.state_of(DEAD)[1], START, ENGLISH).id
