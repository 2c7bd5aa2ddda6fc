"""Decisions of users: the forms on the page of an interview, and the decisions that wait for an operator.

This module does not import `annotations` from `__future__`, because Litestar reads annotations at run time.
"""

import secrets
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from sqlalchemy import Connection, select

from connector.decision import COMMENT_MAX, SCORES, Decision, DecisionRequest, Via
from connector.errors import UsageError
from connector.interview import Interview, Stage
from connector.languages import gettext_noop
from connector.merge import decode, interview_of
from connector.operations.decide import NO_KEY, answer, ask
from connector.store import decisions
from connector.store.decisions import StoredRequest, WaitsFor
from connector.store.dialects import among
from connector.store.schema import RequestState
from connector.store.schema import interview as interview_table
from connector.text import web_link
from connector.web.auth import Access, Visitor, form_values, may_act
from connector.web.dashboard.filters import ids_in
from connector.web.dashboard.pages import Pages, Seen, redirect
from connector.web.dashboard.words import Clockface, Moment, candidate_name, sentence, shown_name

SHOWN = {
    Decision.SHORTLIST: gettext_noop("Shortlist"),
    Decision.DISCARD: gettext_noop("Discard"),
    Decision.BACK: gettext_noop("Back to evaluation"),
    Decision.SCORE: gettext_noop("Score"),
    Decision.COMMENT: gettext_noop("Comment"),
    Decision.SHARE: gettext_noop("Share link"),
}
STATES = {
    RequestState.HELD: ("warn", gettext_noop("waits for a confirmation")),
    RequestState.WAITING: ("wait", gettext_noop("waits")),
    RequestState.DONE: ("ok", gettext_noop("done")),
    RequestState.REFUSED: ("bad", gettext_noop("refused")),
    RequestState.UNCLEAR: ("warn", gettext_noop("unclear")),
    RequestState.DROPPED: ("wait", gettext_noop("dropped")),
}
"""The mark and the words for each state."""
WAITS = {
    WaitsFor.EARLIER: gettext_noop("Waits for an earlier decision on the interview"),
    WaitsFor.REPLY: gettext_noop("Waits for the reply of Hireflix"),
    WaitsFor.TURN: gettext_noop("Waits for its turn"),
}
"""What a waiting decision waits for, unless it is tried again later."""
RECENT = 10
"""Decisions that the page of an interview shows."""
ANSWERS_MAX = 500
"""Most decisions that one form answers."""


@dataclass(frozen=True, slots=True)
class DecisionLine:
    """A decision of a user. `link` is that of a share."""

    id: int
    what: str
    who: str
    at: Moment | None
    mark: str
    state: str
    detail: str
    link: str


@dataclass(frozen=True, slots=True)
class DecisionPanel:
    """The decisions on the page of an interview. `problem` says why no decision is possible, else `""`."""

    interview_id: str
    problem: str
    key: str
    stage: str
    scores: Sequence[str]
    comment_max: int
    recent: list[DecisionLine]


def decision_panel(seen: Seen, found: Interview) -> DecisionPanel:
    """Returns the forms for an interview, and its latest decisions."""
    problem = ""
    if seen.config.hireflix.api_key is None:
        problem = f"{sentence(NO_KEY)}."
    elif found.stage is Stage.DELETED:
        problem = seen.words.gettext("The interview was deleted in Hireflix.")
    recent = decisions.of_interview(seen.connection, found.id, RECENT)
    waiting = [each for each in recent if each.state is RequestState.WAITING]
    waits = {each.id: _waits_for(seen, each) for each in waiting}
    return DecisionPanel(
        found.id,
        problem,
        secrets.token_urlsafe(12),
        found.stage.value,
        [f"{score:g}" for score in reversed(SCORES)],
        COMMENT_MAX,
        [_line(each, seen.clock, waits.get(each.id, "")) for each in recent],
    )


def _waits_for(seen: Seen, stored: StoredRequest) -> str:
    """Returns what a waiting decision waits for, as a sentence without its period."""
    what, gettext = decisions.waits_for(seen.connection, stored, seen.clock.now), seen.words.gettext
    if what is not WaitsFor.NEXT_TRY:
        return gettext(WAITS[what])
    at = seen.clock.moment(stored.due_at)
    return gettext("Tried again at {time}: {reason}").format(time=at.text if at else "", reason=stored.reason)


def _line(stored: StoredRequest, clock: Clockface, waits: str = "") -> DecisionLine:
    mark, state = STATES[stored.state]
    what = clock.words.gettext(SHOWN[stored.decision])
    if stored.decision is Decision.SCORE:
        what = f"{what} {stored.value}"
    result, detail = stored.result, waits or stored.reason
    if stored.state is RequestState.DONE and result is not None and not result.changed:
        detail = clock.words.gettext("Hireflix showed it already")
    return DecisionLine(
        stored.id,
        what,
        f"{stored.actor} ({stored.via})",
        clock.moment(stored.done_at or stored.requested_at),
        mark,
        state,
        sentence(detail),
        web_link(result.link) or "" if result is not None and result.link else "",
    )


@post("/actions/decide", include_in_schema=False, guards=[may_act])
async def ask_decision(request: Request[Visitor, Access, Any], pages: NamedDependency[Pages]) -> Response[Any]:
    """Stores a decision, which the service carries out. A form that is sent twice decides once."""
    sent = await form_values(request, "interview", "decision", "value", "key")
    if sent["decision"] not in set(Decision):
        raise UsageError(pages.words.gettext("choose a decision"))
    decision = Decision(sent["decision"])
    wanted = DecisionRequest(
        key=f"dashboard:{sent['interview']}:{sent['key'][:40] or secrets.token_urlsafe(12)}",
        interview_id=sent["interview"],
        decision=decision,
        value=sent["value"].strip() or None,
        actor=request.user.actor,
        via=Via.DASHBOARD,
    )
    now = pages.clockface().now
    await pages.store.write(lambda connection: ask(connection, pages.config, wanted, now))
    notice = pages.words.gettext("{decision}: requested. This page shows the result.")
    notice = notice.format(decision=pages.words.gettext(SHOWN[decision]))
    return redirect(f"/interviews/one?{urlencode({'id': wanted.interview_id})}", request, notice)


# --- Decisions that wait for an operator ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class OpenDecision:
    """A decision that waits for an operator, with its candidate."""

    line: DecisionLine
    interview_id: str
    candidate: str
    position: str
    stage: str


@dataclass(frozen=True, slots=True)
class OpenGroup:
    """Open decisions with the same reason. `ids` are for the form that answers all of them."""

    reason: str
    is_unclear: bool
    ids: str
    rows: list[OpenDecision]


@dataclass(frozen=True, slots=True)
class DecisionsPage:
    """The page of the decisions that wait for an operator."""

    groups: list[OpenGroup]


def open_decisions(seen: Seen) -> DecisionsPage:
    """Returns the decisions that wait for an operator, grouped by reason."""
    rows = decisions.for_operators(seen.connection, ANSWERS_MAX)
    known = _interviews(seen.connection, [each.interview_id for each in rows])
    groups: dict[tuple[bool, str], list[StoredRequest]] = defaultdict(list)
    for each in rows:
        groups[each.state is RequestState.UNCLEAR, each.reason].append(each)
    return DecisionsPage(
        [
            OpenGroup(
                f"{sentence(reason)}.",
                is_unclear,
                ",".join(str(each.id) for each in group),
                [_open(each, known.get(each.interview_id), seen.clock) for each in group],
            )
            for (is_unclear, reason), group in groups.items()
        ]
    )


def _open(stored: StoredRequest, found: Interview | None, clock: Clockface) -> OpenDecision:
    name, position, stage = (
        ("", "", "") if found is None else (found.candidate_name, found.position_name, found.stage_word)
    )
    return OpenDecision(
        _line(stored, clock), stored.interview_id, candidate_name(name, clock.words), shown_name(position), stage
    )


def _interviews(connection: Connection, ids: Sequence[str]) -> dict[str, Interview]:
    columns = (interview_table.c.id, interview_table.c.state)
    rows = connection.execute(select(*columns).where(among(connection, interview_table.c.id, list(set(ids)))))
    return {row.id: interview_of(row.id, decode(row.state)) for row in rows}


@get("/decisions", include_in_schema=False)
async def decisions_page(request: Request[Visitor, Access, Any], pages: NamedDependency[Pages]) -> Response[bytes]:
    """Lists the decisions that wait for an operator."""
    return await pages.show(request, "decisions.html", "decisions", pages.words.gettext("Decisions"), open_decisions)


@post("/actions/answer-decisions", include_in_schema=False, guards=[may_act])
async def answer_decisions(request: Request[Visitor, Access, Any], pages: NamedDependency[Pages]) -> Response[Any]:
    """Carries out or drops decisions that wait for an operator."""
    sent = await form_values(request, "ids", "answer")
    if sent["answer"] not in {"do", "drop"}:
        raise UsageError(pages.words.gettext("choose to do or to drop the decisions"))
    ids = ids_in(sent["ids"])
    do, actor, now = sent["answer"] == "do", request.user.actor, pages.clockface().now
    answered = await pages.store.write(
        lambda connection: answer(connection, ids[:ANSWERS_MAX], do=do, actor=actor, now=now)
    )
    count = len(answered)
    done = (
        pages.words.ngettext("{count} decision will be carried out.", "{count} decisions will be carried out.", count)
        if do
        else pages.words.ngettext("{count} decision is dropped.", "{count} decisions are dropped.", count)
    )
    return redirect("/decisions", request, done.format(count=pages.words.number(count)))
