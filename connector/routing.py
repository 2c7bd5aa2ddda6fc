"""Routes: decides which events and interviews go to which sinks."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import translate
from hashlib import sha256
from typing import NamedTuple
from unicodedata import normalize

import msgspec

from connector.hireflix import FINISH
from connector.interview import Interview, Stage

MEMO_MAX = 4096
"""Cached results by event name and position. The cache is cleared when it is full."""
MEMO_NAME_MAX = 500
"""Most characters of id and name of a position in the cache. Longer ones are not cached, so the memory is bounded."""


@dataclass(frozen=True, slots=True)
class Route:
    """A route. An empty condition is always met.

    `positions` holds ids, matched exactly, and patterns of names: `*` matches any text and `?` one character; case is
    ignored; all other characters are literal. A route with `otherwise` matches only what no other route to a message
    sink matched. `min_score` is a score from 0 to 5.
    """

    sinks: tuple[str, ...]
    positions: tuple[str, ...] = ()
    events: tuple[str, ...] = ()
    stages: tuple[Stage, ...] = ()
    min_score: float | None = None
    otherwise: bool = False

    def meets(self, stage: Stage, score: float | None) -> bool:
        """Whether stage and score of the merged interview meet the conditions. `None` never meets `min_score`."""
        if self.stages and stage not in self.stages:
            return False
        return self.min_score is None or (score is not None and score >= self.min_score)


class Verdict(NamedTuple):
    """Whether a route matches an event, and the reason. `route` is its index in the configuration, from 0."""

    route: int
    matched: bool
    reason: str


class _Positions:
    """The compiled position conditions of a route."""

    def __init__(self, wanted: Sequence[str]) -> None:
        folded = [_fold(text) for text in wanted]
        self._any = not wanted
        self._ids = frozenset(wanted)
        self._names = frozenset(folded)
        # `[` would begin a character class; `[[]` is a class that matches only `[`
        patterns = [translate(text.replace("[", "[[]")) for text in folded if "*" in text or "?" in text]
        self._patterns = tuple(re.compile(pattern) for pattern in patterns)

    def take(self, position_id: str, position_name: str) -> bool:
        if self._any or position_id in self._ids:
            return True
        name = _fold(position_name)
        return name in self._names or any(pattern.match(name) for pattern in self._patterns)


def _fold(text: str) -> str:
    """Returns a form that is equal for names that differ only in case or in the composition of accents."""
    return normalize("NFC", text.casefold())


class _Candidates(NamedTuple):
    """The routes that can match at a position, depending on stage and score.

    `certain` holds the sinks when no route depends on stage or score, else `None`.
    """

    plain: tuple[Route, ...]
    otherwise: tuple[Route, ...]
    certain: tuple[str, ...] | None


class Routes:
    """All routes. `sinks` maps the names of all configured sinks, in order, to whether they are state sinks.

    Without routes every sink gets everything. A route with `otherwise` must not lead to a state sink, and a route must
    not name an unknown sink; the configuration refuses both.
    """

    def __init__(self, routes: Sequence[Route], sinks: Mapping[str, bool]) -> None:
        self._sinks = tuple(sinks)
        self._messages = frozenset(name for name, is_state in sinks.items() if not is_state)
        self._routes = tuple(routes) or (Route(self._sinks),)
        for route in self._routes:
            assert all(name in sinks for name in route.sinks)
            assert not route.otherwise or self._messages.issuperset(route.sinks)
        self._positions = tuple(_Positions(route.positions) for route in self._routes)
        self._memo: dict[tuple[str | None, str, str], _Candidates] = {}

    def match(
        self, event_name: str, position_id: str, position_name: str, stage: Stage, score: float | None
    ) -> tuple[str, ...]:
        """Returns the sinks that get an event, in configured order, each once.

        Position, stage and score are those of the merged interview.
        """
        candidates = self._candidates(event_name, position_id, position_name)
        if candidates.certain is not None:
            return candidates.certain
        return self._decide(candidates.plain, candidates.otherwise, _counted(event_name, stage), score)

    def entry(self, sink: str, position_id: str, position_name: str, stage: Stage, score: float | None) -> bool:
        """Whether a route leads an interview in its current state to a sink; ignores `events`, and for a route with
        `otherwise` the other routes. A backfill of a state sink includes such an interview.
        """
        candidates = self._candidates(None, position_id, position_name)
        routes = (*candidates.plain, *candidates.otherwise)
        return any(sink in route.sinks and route.meets(stage, score) for route in routes)

    def staying(self, sink: str) -> Callable[[Interview], bool]:
        """Returns a predicate that calls `entry` for an interview."""
        return lambda known: self.entry(sink, known.position_id, known.position_name, known.stage, known.score)

    def digest(self, sink: str) -> str:
        """A short text that changes when the routes to this sink change, and only then."""
        rules = {msgspec.json.encode(_conditions(route)) for route in self._routes if sink in route.sinks}
        return sha256(b"\n".join(sorted(rules))).hexdigest()[:16]

    def explain(
        self, event_name: str, position_id: str, position_name: str, stage: Stage, score: float | None
    ) -> list[Verdict]:
        """Returns for each route whether it matches an event, and why; in configured order."""
        return list(self._explained(event_name, position_id, position_name, _counted(event_name, stage), score))

    def _candidates(self, event_name: str | None, position_id: str, position_name: str) -> _Candidates:
        key = (event_name, position_id, position_name)
        found = self._memo.get(key)
        if found is None:
            if len(position_id) + len(position_name) > MEMO_NAME_MAX:
                return self._find_candidates(*key)
            if len(self._memo) >= MEMO_MAX:
                self._memo.clear()
            found = self._memo[key] = self._find_candidates(*key)
        return found

    def _decide(
        self, plain: Sequence[Route], otherwise: Sequence[Route], stage: Stage, score: float | None
    ) -> tuple[str, ...]:
        taken = _sinks_of(plain, stage, score)
        if otherwise and taken.isdisjoint(self._messages):
            taken |= _sinks_of(otherwise, stage, score)
        return tuple(name for name in self._sinks if name in taken)

    def _find_candidates(self, event_name: str | None, position_id: str, position_name: str) -> _Candidates:
        met = [
            route
            for route, positions in zip(self._routes, self._positions, strict=True)
            if (event_name is None or not route.events or event_name in route.events)
            and positions.take(position_id, position_name)
        ]
        plain = tuple(route for route in met if not route.otherwise)
        otherwise = tuple(route for route in met if route.otherwise)
        is_certain = not any(route.stages or route.min_score is not None for route in met)
        return _Candidates(
            plain, otherwise, self._decide(plain, otherwise, Stage.UNKNOWN, None) if is_certain else None
        )

    def _explained(
        self, event_name: str, position_id: str, position_name: str, stage: Stage, score: float | None
    ) -> Iterator[Verdict]:
        plain = self._candidates(event_name, position_id, position_name).plain
        takers = sorted(_sinks_of(plain, stage, score) & self._messages)
        for index, (route, positions) in enumerate(zip(self._routes, self._positions, strict=True)):
            against = _against_event(route, event_name)
            if not against and not positions.take(position_id, position_name):
                against = f"position {position_name!r} ({position_id}) is none of: {', '.join(route.positions)}"
            against = against or _against_interview(route, stage, score)
            if not against and route.otherwise and takers:
                against = f"another route already sends it to {', '.join(takers)}"
            yield Verdict(index, not against, against or f"goes to {', '.join(route.sinks)}")


def _counted(event_name: str, stage: Stage) -> Stage:
    """Returns the stage that counts for an event. A finish is about the completion, even if it was decided since."""
    return Stage.TO_EVALUATE if event_name == FINISH else stage


def _sinks_of(routes: Sequence[Route], stage: Stage, score: float | None) -> set[str]:
    taken: set[str] = set()
    for route in routes:
        if route.meets(stage, score):
            taken.update(route.sinks)
    return taken


def _conditions(route: Route) -> tuple[object, ...]:
    return (
        tuple(sorted(set(route.positions))),
        tuple(sorted(set(route.events))),
        tuple(sorted(set(route.stages))),
        None if route.min_score is None else float(route.min_score),
        route.otherwise,
    )


def _against_event(route: Route, event_name: str) -> str:
    if route.events and event_name not in route.events:
        return f"{event_name} is none of: {', '.join(route.events)}"
    return ""


def _against_interview(route: Route, stage: Stage, score: float | None) -> str:
    if route.meets(stage, score):
        return ""
    if route.stages and stage not in route.stages:
        return f"stage {stage} is none of: {', '.join(route.stages)}"
    return "the score is missing" if score is None else f"score {score:g} is below {route.min_score:g}"
