"""Routes: which sinks get which events, independent of earlier calls."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.hireflix import EVENT_NAMES, FINISH, SCORE_UPDATED
from connector.interview import Stage
from connector.routing import MEMO_MAX, Route, Routes

SINKS = {"sheet": True, "people": False, "book": True, "team": False}
"""Two state sinks and two message sinks."""


def names(*routes):
    """The sinks of a finish of `Cook` (`p1`), to be evaluated, with a score of 4."""
    return Routes(routes, SINKS).match(FINISH, "p1", "Cook", Stage.TO_EVALUATE, 4)


# --- one route


def test_a_very_long_name_is_not_cached():
    """Thousands of matches of long names use no memory afterwards."""
    routes = Routes([Route(("a",), positions=("x*",))], {"a": False})
    for number in range(50):
        assert routes.match("interview.create", "p", "x" * 10_000 + str(number), Stage.PENDING, None) == ("a",)
    assert not routes._memo


def test_without_routes_every_sink_gets_everything():
    assert names() == ("sheet", "people", "book", "team")


def test_without_sinks_nothing_is_routed():
    assert Routes([], {}).match(FINISH, "p1", "Cook", Stage.PENDING, None) == ()


def test_a_route_without_conditions_takes_everything_to_its_sinks():
    assert names(Route(("sheet",))) == ("sheet",)


def test_sinks_come_in_configured_order_each_once():
    assert names(Route(("team", "sheet")), Route(("people", "team"))) == ("sheet", "people", "team")


@pytest.mark.parametrize(
    ("wanted", "taken"),
    [
        ("p1", True),
        ("P1", False),
        ("p?", False),
        ("Graduate Program *", True),
        ("graduate PROGRAM 2026", True),
        ("Graduate Program ?", False),
        ("Graduate Program 20??", True),
        ("Graduate", False),
        ("*2026", True),
        ("*", True),
        ("", False),
        ("[Gg]raduate*", False),
    ],
)
def test_a_position_is_wanted_by_exact_id_or_by_a_pattern_of_its_name(wanted, taken):
    routes = Routes([Route(("team",), positions=(wanted,))], SINKS)
    assert bool(routes.match(FINISH, "p1", "Graduate Program 2026", Stage.PENDING, None)) is taken


@pytest.mark.parametrize("name", ["[a]", "a.b", "(", "\\", "^$", "a\nb", "!", "[!a]", "]"])
def test_everything_but_star_and_question_mark_is_literal(name):
    routes = Routes([Route(("team",), positions=(name + "*",)), Route(("people",), positions=(name,))], SINKS)
    assert routes.match(FINISH, "", name, Stage.PENDING, None) == ("people", "team")
    assert routes.match(FINISH, "", "x" + name, Stage.PENDING, None) == ()


def test_an_accent_may_be_composed_either_way():
    routes = Routes([Route(("team",), positions=("Caf\u00e9 *",))], SINKS)
    assert routes.match(FINISH, "", "cafe\u0301 Manager", Stage.PENDING, None) == ("team",)


def test_an_unknown_position_meets_no_condition_on_positions_but_star():
    routes = Routes([Route(("team",), positions=("p1", "Cook")), Route(("people",), positions=("*",))], SINKS)
    assert routes.match(FINISH, "", "", Stage.PENDING, None) == ("people",)


@pytest.mark.parametrize(("events", "taken"), [((), True), ((FINISH,), True), ((SCORE_UPDATED,), False)])
def test_a_route_may_want_certain_events(events, taken):
    assert bool(names(Route(("team",), events=events))) is taken


@pytest.mark.parametrize(("score", "taken"), [(None, False), (3.5, False), (4, True), (5.0, True)])
def test_no_score_never_meets_the_least_score(score, taken):
    routes = Routes([Route(("team",), min_score=4)], SINKS)
    assert bool(routes.match(SCORE_UPDATED, "", "", Stage.PENDING, score)) is taken


def test_a_least_score_of_nothing_still_wants_a_score():
    routes = Routes([Route(("team",), min_score=0)], SINKS)
    assert [bool(routes.match(FINISH, "", "", Stage.PENDING, score)) for score in (None, 0)] == [False, True]


@pytest.mark.parametrize("stage", list(Stage))
def test_for_a_finish_the_stage_counts_as_to_evaluate(stage):
    routes = Routes(
        [Route(("team",), stages=(Stage.TO_EVALUATE,)), Route(("people",), stages=(Stage.DISCARDED,))], SINKS
    )
    assert routes.match(FINISH, "", "", stage, None) == ("team",)
    assert ("people" in routes.match(SCORE_UPDATED, "", "", stage, None)) is (stage is Stage.DISCARDED)


# --- otherwise


def test_otherwise_takes_what_no_route_to_a_message_sink_took():
    rest = Route(("people",), otherwise=True)
    assert names(Route(("team",), positions=("Cook",)), rest) == ("team",)
    assert names(Route(("team",), positions=("Clerk",)), rest) == ("people",)


def test_a_state_sink_takes_nothing_away_from_otherwise():
    assert names(Route(("sheet", "book")), Route(("people",), otherwise=True)) == ("sheet", "people", "book")


def test_routes_with_otherwise_take_nothing_from_each_other():
    assert names(Route(("people",), otherwise=True), Route(("team",), otherwise=True)) == ("people", "team")


def test_a_route_with_otherwise_has_conditions_too():
    assert names(Route(("people",), otherwise=True, events=(SCORE_UPDATED,))) == ()


@pytest.mark.parametrize("route", [Route(("sheet",), otherwise=True), Route(("missing",))])
def test_what_the_configuration_refuses_is_not_built(route):
    with pytest.raises(AssertionError):
        Routes([route], SINKS)


# --- filling a state sink


def test_filling_counts_the_events_of_a_route_as_met():
    routes = Routes([Route(("sheet",), events=(FINISH,), stages=(Stage.SHORTLISTED,))], SINKS)
    assert routes.entry("sheet", "", "", Stage.SHORTLISTED, None)
    assert not routes.entry("sheet", "", "", Stage.TO_EVALUATE, None)


def test_filling_looks_at_the_routes_to_that_sink_only():
    routes = Routes([Route(("book",)), Route(("sheet",), positions=("Cook",))], SINKS)
    assert [routes.entry("sheet", "", name, Stage.PENDING, None) for name in ("Cook", "Clerk")] == [True, False]


def test_what_came_by_otherwise_stays_until_its_position_changes():
    routes = Routes(
        [Route(("team",), positions=("Cook",)), Route(("people",), positions=("C*",), otherwise=True)], SINKS
    )
    assert [routes.entry("people", "", name, Stage.PENDING, None) for name in ("Cook", "Clerk", "Baker")] == [
        True,
        True,
        False,
    ]


# --- digest


def digest(*routes, sink="sheet"):
    return Routes(routes, SINKS).digest(sink)


ONE = Route(("sheet",), positions=("a", "b"), events=(FINISH,), stages=(Stage.DISCARDED,), min_score=4)


@pytest.mark.parametrize(
    "other",
    [
        Route(("sheet",), positions=("a",), events=(FINISH,), stages=(Stage.DISCARDED,), min_score=4),
        Route(("sheet",), positions=("a", "b"), events=(SCORE_UPDATED,), stages=(Stage.DISCARDED,), min_score=4),
        Route(("sheet",), positions=("a", "b"), events=(FINISH,), stages=(Stage.PENDING,), min_score=4),
        Route(("sheet",), positions=("a", "b"), events=(FINISH,), stages=(Stage.DISCARDED,), min_score=4.5),
        Route(("sheet",), positions=("a", "b"), events=(FINISH,), stages=(Stage.DISCARDED,)),
        Route(("book",), positions=("a", "b"), events=(FINISH,), stages=(Stage.DISCARDED,), min_score=4),
    ],
)
def test_a_changed_route_changes_the_digest(other):
    assert digest(ONE) != digest(other)


def test_a_second_route_changes_the_digest():
    assert digest(ONE) != digest(ONE, Route(("sheet",)))


def test_what_means_the_same_keeps_the_digest():
    same = Route(
        ("team", "sheet"), positions=("b", "a", "a"), events=(FINISH,), stages=(Stage.DISCARDED,), min_score=4.0
    )
    assert digest(ONE, Route(("sheet",))) == digest(Route(("team",)), Route(("sheet",)), same, ONE)


def test_no_routes_mean_one_route_without_conditions():
    assert digest() == digest(Route(("sheet",)))


def test_a_digest_is_the_same_in_every_process():
    assert digest(ONE) == "32b3b980ad08f07a"


# --- explain


def explain(*routes, name=FINISH, stage=Stage.PENDING, score=None):
    return [(v.route, v.matched, v.reason) for v in Routes(routes, SINKS).explain(name, "p1", "Cook", stage, score)]


def test_explain_says_why_a_route_takes_an_event_or_not():
    assert explain(
        Route(("sheet", "team")),
        Route(("team",), events=(FINISH,)),
        Route(("team",), positions=("Clerk", "p2")),
        Route(("team",), stages=(Stage.DISCARDED, Stage.SHORTLISTED)),
        Route(("team",), min_score=4),
        Route(("people",), otherwise=True),
        name=SCORE_UPDATED,
        score=3.5,
    ) == [
        (0, True, "goes to sheet, team"),
        (1, False, "interview.score-updated is none of: interview.finish"),
        (2, False, "position 'Cook' (p1) is none of: Clerk, p2"),
        (3, False, "stage pending is none of: discarded, shortlisted"),
        (4, False, "score 3.5 is below 4"),
        (5, False, "another route already sends it to team"),
    ]


def test_explain_says_that_there_is_no_score():
    assert explain(Route(("team",), min_score=4)) == [(0, False, "the score is missing")]


# --- properties

letters = "aAbBéÉ .[]!-\\"
patterns = st.text(letters + "*?", max_size=6)
texts = st.text(letters + "*?", max_size=6)
position_ids = st.sampled_from(["", "p1", "p2", "a"])
event_names = st.sampled_from(sorted(EVENT_NAMES))
some_scores = st.none() | st.sampled_from([0, 3.5, 4, 5])
questions = st.tuples(
    event_names, position_ids, texts | st.sampled_from(["a", "A"]), st.sampled_from(Stage), some_scores
)


def subsets(elements, max_size=2):
    return st.lists(elements, max_size=max_size).map(tuple)


@st.composite
def routes_of(draw):
    otherwise = draw(st.booleans())
    sinks = [name for name, is_state in SINKS.items() if not (otherwise and is_state)]
    return Route(
        sinks=tuple(draw(st.lists(st.sampled_from(sinks), min_size=1, max_size=3))),
        positions=draw(subsets(position_ids | patterns)),
        events=draw(subsets(event_names)),
        stages=draw(subsets(st.sampled_from(Stage))),
        min_score=draw(some_scores),
        otherwise=otherwise,
    )


def glob(pattern, text):
    """A simple matcher for names with * and ?."""
    if not pattern:
        return not text
    if pattern[0] == "*":
        return any(glob(pattern[1:], text[start:]) for start in range(len(text) + 1))
    return bool(text) and pattern[0] in ("?", text[0]) and glob(pattern[1:], text[1:])


def meets(route, question):
    """Whether a route alone matches an event, implemented independently."""
    event_name, position_id, position_name, stage, score = question
    return all(
        [
            not route.events or event_name in route.events,
            not route.positions
            or position_id in route.positions
            or any(glob(wanted.casefold(), position_name.casefold()) for wanted in route.positions),
            not route.stages or (Stage.TO_EVALUATE if event_name == FINISH else stage) in route.stages,
            route.min_score is None or (score is not None and score >= route.min_score),
        ]
    )


def expected(routes, question):
    plain = {name for route in routes if not route.otherwise and meets(route, question) for name in route.sinks}
    rest = {name for route in routes if route.otherwise and meets(route, question) for name in route.sinks}
    taken = plain if any(not SINKS[name] for name in plain) else plain | rest
    return tuple(name for name in SINKS if name in taken)


some_routes = st.lists(routes_of(), min_size=1, max_size=5)


@given(some_routes, st.lists(questions, min_size=1, max_size=8))
def test_the_answer_is_that_of_the_rules_whatever_was_asked_before(routes, asked):
    known = Routes(routes, SINKS)
    assert [known.match(*question) for question in asked + asked] == [
        expected(routes, question) for question in asked + asked
    ]


@given(patterns, texts)
def test_a_pattern_matches_as_the_plainest_matcher_does(pattern, name):
    routes = Routes([Route(("team",), positions=(pattern,))], SINKS)
    taken = bool(routes.match(FINISH, "id", name, Stage.PENDING, None))
    assert taken == glob(pattern.casefold(), name.casefold())


@given(some_routes, questions)
def test_explain_and_match_agree(routes, question):
    known = Routes(routes, SINKS)
    taken = {name for verdict in known.explain(*question) if verdict.matched for name in routes[verdict.route].sinks}
    assert taken == set(known.match(*question))


@given(some_routes, questions, st.sampled_from(["sheet", "book"]))
def test_what_an_event_can_enter_filling_can_enter(routes, question, sink):
    name, position_id, position_name, stage, score = question
    counted = Stage.TO_EVALUATE if name == FINISH else stage
    if sink in (known := Routes(routes, SINKS)).match(*question):
        assert known.entry(sink, position_id, position_name, counted, score)


@given(some_routes, st.data())
def test_the_order_of_routes_changes_no_digest(routes, data):
    shuffled = data.draw(st.permutations(routes))
    assert [digest(*routes, sink=name) for name in SINKS] == [digest(*shuffled, sink=name) for name in SINKS]


def test_the_memo_is_bounded():
    routes = Routes([Route(("team",), positions=("Cook 1*",))], SINKS)
    answers = [routes.match(FINISH, "", f"Cook {n}", Stage.PENDING, None) for n in range(MEMO_MAX + 10)]
    assert answers.count(("team",)) == sum(str(n).startswith("1") for n in range(MEMO_MAX + 10))
    assert len(routes._memo) == 10


def test_of_two_thousand_routes_only_those_that_can_match_are_asked_again():
    routes = Routes([Route(("team",), positions=(f"Cook {n} *",)) for n in range(2000)], SINKS)
    for name, stage in product(("Cook 7 night", "Cook 7 day"), Stage):
        assert routes.match(FINISH, "", name, stage, None) == ("team",)
    assert [len(candidates.plain) for candidates in routes._memo.values()] == [1, 1]
