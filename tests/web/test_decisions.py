"""Decisions on the dashboard, over real HTTP, with an emulated Hireflix."""

from __future__ import annotations

import re
import time
from contextlib import asynccontextmanager, closing

from sqlalchemy import insert

from connector.decision import Decision, DecisionRequest, Via
from connector.emulators.hireflix import Account, HireflixEmulator
from connector.store import decisions, schema
from connector.store.sqlite import database
from tests.serving import CONSOLE_ONLY, SECRET, sample
from tests.web.browsing import DASHBOARD, VIEW_PASSWORD, browser, dashboard, sign_in
from tests.web.test_actions import act, shown, until


@asynccontextmanager
async def deciding(folder):
    """A dashboard with two interviews of an emulated account, which the service read through the API."""
    account = Account(lambda: time.time_ns() // 1_000_000)
    position = account.add_position("Baker")
    people = [account.invite(position, name)[0] for name in ("Ana García", "Bo Nilsson")]
    for each in people:
        account.complete(each)
    with HireflixEmulator(account) as server:
        keys = f'[hireflix]\nwebhook_secrets = ["{SECRET}"]\napi_key = "{server.key}"\napi_url = "{server.api_url}"\n'
        async with dashboard(folder, f"{keys}{CONSOLE_ONLY}{DASHBOARD}") as (service, client):
            await shown(client, "/interviews", "Bo Nilsson")
            yield account, people, service, client


def page_of(person):
    return f"/interviews/one?id={person.id}"


def hold(folder, person, key):
    """Stores a discard that an operator must confirm."""
    with closing(database.connect(folder / "data" / "connector.db")) as raw:
        with database.through_sqlalchemy(raw) as connection:
            request = DecisionRequest(
                key=key,
                interview_id=person.id,
                decision=Decision.DISCARD,
                actor="sheet",
                via=Via.SHEET,
                hold="8 rows changed at once",
            )
            decisions.ask(connection, request, time.time_ns() // 1_000_000)
        raw.commit()


async def test_every_decision_reaches_hireflix_and_the_page_shows_it(tmp_path):
    async with deciding(tmp_path) as (account, [ana, _], _, client):
        page = (await client.get(page_of(ana))).text
        [key] = set(re.findall(r'name="key" value="(.+?)-comment"', page))
        for decision, value in [("score", "4.5"), ("comment", "Strong in maths"), ("share", ""), ("shortlist", "")]:
            sent = {"interview": ana.id, "decision": decision, "value": value, "key": f"{key}-{decision}"}
            for _ in range(2):  # a form that is sent twice
                answer = await act(client, "/actions/decide", **sent)
                assert (answer.status_code, answer.headers["location"]) == (303, page_of(ana))
        await until(lambda: ana.stage == "shortlisted")
        await shown(client, page_of(ana), "https://shared.hireflix.com/")
        assert [name for name, _ in account.changes] == ["score", "comment", "share", "finalist"]
        await act(client, "/actions/decide", interview=ana.id, decision="discard", value="No permit")
        await until(lambda: ana.stage == "discarded")
        assert f'href="{page_of(ana)}">{ana.id}</a>' in await shown(client, "/audit", "discard")
        assert [each["value"] for each in ana.comments] == ["Strong in maths", "No permit"]


async def test_the_page_says_what_a_decision_waits_for(tmp_path):
    async with deciding(tmp_path) as (account, [ana, _], _, client):
        with closing(database.connect(tmp_path / "data" / "connector.db")) as raw:
            with database.through_sqlalchemy(raw) as connection:
                carried_out = {"name": f"decide:{ana.id}", "lease_owner": "another process", "lease_until": 9e15}
                connection.execute(insert(schema.lease).values(carried_out))
            raw.commit()
        await act(client, "/actions/decide", interview=ana.id, decision="shortlist", key="1")
        await act(client, "/actions/decide", interview=ana.id, decision="back", key="2")
        page = await shown(client, page_of(ana), "Waits for the reply of Hireflix")
        assert "Waits for an earlier decision on the interview" in page
        assert account.changes == []


async def test_no_score_is_chosen_before_the_user_chooses_one(tmp_path):
    async with deciding(tmp_path) as (account, [ana, _], _, client):
        page = (await client.get(page_of(ana))).text
        assert '<select name="value" required><option value="">' in page
        answer = await act(client, "/actions/decide", interview=ana.id, decision="score", value="")
        assert (answer.status_code, account.changes) == (422, [])


async def test_a_user_who_may_only_view_sees_no_form(tmp_path):
    async with deciding(tmp_path) as (account, [ana, _], service, _), browser(service) as viewer:
        await sign_in(viewer, VIEW_PASSWORD)
        page = (await viewer.get(page_of(ana))).text
        assert "/actions/decide" not in page
        assert (await act(viewer, "/actions/decide", interview=ana.id, decision="shortlist")).status_code == 403
        assert account.changes == []


async def test_a_foreign_form_decides_nothing(tmp_path):
    async with deciding(tmp_path) as (account, [ana, _], _, client):
        sent = {"interview": ana.id, "decision": "shortlist", "key": "k"}
        for headers in ({"sec-fetch-site": "cross-site"}, {}):
            assert (await client.post("/actions/decide", data=sent, headers=headers)).status_code == 403
        assert account.changes == []


async def test_held_decisions_are_listed_and_are_done_or_dropped(tmp_path):
    async with deciding(tmp_path) as (_, [ana, bo], _, client):
        hold(tmp_path, ana, "1")
        hold(tmp_path, bo, "2")
        page = await shown(client, "/decisions", "8 rows changed at once.")
        assert "Do all 2" in page
        assert "2 decisions wait for a confirmation" in page
        first, second = re.findall(r'name="ids" value="(\d+)"', page)
        await act(client, "/actions/answer-decisions", ids=first, answer="do")
        await act(client, "/actions/answer-decisions", ids=second, answer="drop")
        await until(lambda: ana.stage == "discarded")
        assert "No decision waits for you." in (await client.get("/decisions")).text
        assert "dropped" in (await client.get(page_of(bo))).text
        assert bo.stage == "to_evaluate"


async def test_a_decision_that_makes_no_sense_is_refused_with_a_sentence(tmp_path):
    wrong = [{"decision": "hire"}, {"decision": "score", "value": "6"}, {"decision": "comment"}, {"interview": "other"}]
    async with deciding(tmp_path) as (account, [ana, _], _, client):
        for each in wrong:
            answer = await act(client, "/actions/decide", **({"interview": ana.id, "decision": "shortlist"} | each))
            assert (each, answer.status_code) == (each, 422)
            assert "This is not possible" in answer.text
        assert account.changes == []


async def test_without_a_key_a_sentence_says_what_to_do(tmp_path):
    async with dashboard(tmp_path) as (service, client):
        await service.post(sample("finish", id="i1"))
        page = await shown(client, "/interviews/one?id=i1", "Wayne Knight")
        assert "Decisions need a key of the API of Hireflix" in page
        assert "/actions/decide" not in page
        refused = await act(client, "/actions/decide", interview="i1", decision="shortlist")
        assert (refused.status_code, "CONNECTOR_HIREFLIX__API_KEY" in refused.text) == (422, True)
