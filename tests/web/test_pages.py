"""What the pages show, for data of every kind."""

from __future__ import annotations

import asyncio
import html
import json
import re
import sqlite3
import time
from contextlib import closing
from html.parser import HTMLParser

import pytest

from connector.operations.decide import NO_KEY
from connector.operations.erase import CANNOT_ERASE, OUT_OF_REACH
from connector.testing.make import HOSTILE_TEXTS
from connector.web.dashboard.filters import ROWS
from tests.serving import CONSOLE_ONLY, sample, until
from tests.web.browsing import DASHBOARD, SAME_ORIGIN, dashboard, note_changes, token_in

ADDRESSES = ("/", "/interviews", "/deliveries", "/sinks", "/routes", "/routes?event=1", "/audit", "/events/1")
ROUTED = CONSOLE_ONLY + '[[routes]]\nsinks = ["console"]\nevents = ["interview.finish"]\nmin_score = 3\n' + DASHBOARD


SHEET = '[sinks.sheet]\ntype = "workbook"\npath = "data/interviews.xlsx"\n' + DASHBOARD


HOOK = (
    '[sinks.hook]\ntype = "webhook"\nurl = "http://127.0.0.1:9/x"\n'
    'secret = "whsec_d2hhdGV2ZXJ3aGF0ZXZlcndoYXRldmVyd2hhdGV2ZXI="\n' + DASHBOARD
)


SPANISH = (
    f'language = "es"\n{CONSOLE_ONLY}[[routes]]\nsinks = ["console", "sheet"]\nevents = ["interview.finish"]\n{SHEET}'
)
ENGLISH_WORDS = frozenset(
    re.findall(
        r"\w+",
        """the of is are and or with this these yes until ago paused delivery deliveries delivered event events pending
        dead retry later sink sinks store interview show pause default all older unknown name state score from every
        when page erased sync route routes first last day done open dismissed replay verify repair resume not""",
    )
)

REASONS = frozenset(
    {
        "paused by an operator",
        "connector resume console",
        "the body is not JSON in UTF-8",
        "it is older than max_age",
        f"D{NO_KEY[1:]}.",
        CANNOT_ERASE,
        *OUT_OF_REACH,
        "sheet: copies of the workbook",
        "sheet: what users wrote about the person outside of the row",
    }
)
"""Reasons and remedies, which commands and logs show too: they stay English."""


class Shown(HTMLParser):
    """The texts of a page for users. Names, ids, bodies, reasons, remedies and the names of fields are left out."""

    FROM_OUTSIDE = frozenset({"bdi", "code", "pre", "script", "option", "textarea"})
    LABELS = frozenset({"Campo", "Motivo", "Ajuste", "Valor", "Detalle", "Sobre qué", "Quién", "Resultado"})
    VOID = frozenset({"meta", "link", "input", "br", "path", "rect", "circle"})

    def __init__(self, page):
        super().__init__()
        self.texts, self._open = [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.texts += [
            found[name] for name in ("title", "aria-label", "data-label") if name in found and self._is_ours()
        ]
        if tag not in self.VOID:
            is_outside = tag in self.FROM_OUTSIDE or (tag in {"td", "th"} and found.get("data-label") in self.LABELS)
            self._open.append((tag, is_outside or found.get("class") == "troubles"))

    def handle_endtag(self, tag):
        while tag not in self.VOID and self._open and self._open.pop()[0] != tag:
            pass

    def handle_data(self, data):
        if self._is_ours():
            self.texts.append(data)

    def _is_ours(self):
        return not any(is_outside for _, is_outside in self._open)

    def english(self):
        """The texts with an English word; a name with a dot is one of an event or a setting."""
        texts = {text.strip() for text in self.texts} - REASONS
        return {text for text in texts if ENGLISH_WORDS & set(re.findall(r"(?<![.\w])[a-z]+(?!\.?\w)", text.lower()))}


class Markup(HTMLParser):
    """A page as a browser parses it: tags, attributes and scripts with a nonce."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.attributes, self.scripts = set(), {}, 0
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes |= dict(attrs)
        self.scripts += tag == "script"
        assert tag != "script" or dict(attrs)["nonce"]


async def settled(client, path, text):
    """The page, as soon as it contains the text."""

    async def page():
        found = (await client.get(path)).text
        return text in found and found

    return await until(page)


def open_steps(page):
    return re.findall(r'<span>([^<]+)</span><span class="hidden"> \(open\)', page)


@pytest.mark.parametrize("path", [path for path in ADDRESSES if "1" not in path])
async def test_every_page_works_before_the_first_event(tmp_path, path):
    async with dashboard(tmp_path) as (_, client):
        assert (await client.get(path)).status_code == 200


async def test_the_page_of_an_id_that_no_row_can_have_is_not_found(tmp_path):
    async with dashboard(tmp_path) as (_, client):
        found = [await client.get(f"/{kind}/{10**25}") for kind in ("events", "deliveries")]
    assert [each.status_code for each in found] == [404, 404]


async def test_the_first_steps_tick_themselves_and_go(tmp_path):
    async with dashboard(tmp_path, SHEET) as (service, client):
        page = (await client.get("/")).text
        assert open_steps(page) == [
            "The address is reachable",
            "The first signed webhook arrived",
            "The first row is written",
        ]
        await service.post(sample("finish"))
        await settled(client, "/", "last delivered")
        assert "First steps" not in (await client.get("/")).text


async def test_a_refused_request_shows_that_the_address_is_reachable(tmp_path):
    async with dashboard(tmp_path, SHEET) as (_, client):
        now = time.time_ns() // 1_000_000
        with closing(sqlite3.connect(tmp_path / "data" / "connector.db")) as store, store:
            store.execute("INSERT INTO refusal VALUES ('signature', ?, 1, ?)", [now, now])
        assert "The address is reachable" not in open_steps((await client.get("/")).text)


async def test_a_sample_is_processed_like_every_event_and_marked_as_a_sample(tmp_path):
    async with dashboard(tmp_path, SHEET) as (_, client):
        answer = await client.post("/actions/sample", headers=SAME_ORIGIN)
        assert (answer.status_code, answer.headers["location"]) == (303, "/")
        page = await settled(client, "/", "last delivered")
        assert open_steps(page) == ["The address is reachable"]
        assert "Sample candidate" in (await client.get("/deliveries?state=delivered")).text


async def test_a_delivery_is_found_from_its_interview(tmp_path):
    async with dashboard(tmp_path, SHEET) as (service, client):
        await service.post(sample("finish"))
        await settled(client, "/deliveries", "delivered")
        (address,) = set(re.findall(r'href="(/interviews/one\?id=[^"]+)"', (await client.get("/interviews")).text))
        (delivery,) = re.findall(r'href="(/deliveries/\d+)"', (await client.get(address)).text)
        assert "Wayne Knight" in (await client.get(delivery)).text


async def test_an_interview_shows_what_users_need_first_and_the_other_fields_closed(tmp_path):
    async with dashboard(tmp_path, SHEET) as (service, client):
        await service.post(sample("finish", id="i1", answered=False, finalist=True, score=0.5))
        page = (await client.get("/interviews/one?id=i1")).text
        first, _, every = page.partition("<details id")
        assert [*re.findall(r"<dt>([^<]+)</dt><dd><bdi>([^<]+)", first)] == [
            ("E-mail", "wayne.knight@example.com"),
            ("Score", "0.5"),
            ("Completed", "10 May 2023, 07:52:29 UTC"),
            ("Shortlisted", "yes"),
        ]
        assert re.findall(r">(Open [^<]+)</a>", first) == [
            "Open in Hireflix",
            "Open the candidate&#39;s page",
            "Open the short link",
        ]
        assert "https://admin.hireflix.com" not in re.sub(r'href="[^"]+"', "", first)
        assert every.startswith('="fields"><summary>All fields</summary>')
        values = dict(
            re.findall(r'data-label="Field">([^<]+)</th><td class="value" data-label="Value"><bdi>([^<]+)', every)
        )
        assert (values["answered"], values["finalist"], values["external id"]) == ("no", "yes", "YOUR_EXTERNAL_ID")


async def test_the_body_of_an_event_is_hidden_and_shown_only_to_users_who_may_act_with_a_note_in_the_audit_log(
    tmp_path,
):
    async with dashboard(tmp_path) as (service, client):
        await service.post(sample("finish"))
        hidden = html.unescape((await client.get("/events/1")).text)
        assert "wayne.knight@example.com" not in hidden
        assert '\n  "event": "interview.finish",\n' in hidden
        assert "wayne.knight@example.com" in (await client.post("/events/1", headers=SAME_ORIGIN)).text
        audit = (await client.get("/audit")).text
        assert re.findall(r'data-label="(?:Action|On what)">([^<]+)<', audit) == ["show", "event 1"]


async def test_a_sink_shows_its_settings_without_secrets_and_where_they_come_from(tmp_path):
    async with dashboard(tmp_path, HOOK) as (_, client):
        page = html.unescape((await client.get("/sinks/hook")).text)
        settings = re.findall(r"<code>(\w+)</code></th>.*?<code>(.*?)</code>.*?Set by\">([^<]+)<", page)
        assert ("timeout", "15", "default") in settings
        assert ("secret", '"********"', "config.toml") in settings
        assert "d2hhdGV2ZXI" not in page


async def test_the_colours_that_a_user_chose_stay_in_the_browser(tmp_path):
    async with dashboard(tmp_path) as (_, client):
        for theme, expected in (
            ("dark", 'data-theme="dark"'),
            ("light", 'data-theme="light"'),
            ("", '<html lang="en">'),
        ):
            answer = await client.post("/theme", data={"theme": theme, "then": "/sinks"}, headers=SAME_ORIGIN)
            assert answer.headers["location"] == "/sinks"
            assert expected in (await client.get("/sinks")).text


async def test_a_filter_is_part_of_the_address(tmp_path):
    async with dashboard(tmp_path, SHEET) as (service, client):
        await service.post(sample("finish"))
        await settled(client, "/deliveries?state=delivered", "Wayne Knight")
        nothing = (await client.get("/deliveries?state=dead")).text
        assert "No delivery matches." in nothing
        assert "Clear the filter" in nothing


async def test_the_pages_of_a_long_list_keep_their_filter_and_do_not_change(tmp_path):
    async with dashboard(tmp_path, SHEET) as (service, client):
        await client.post("/actions/pause", data={"sink": "sheet"}, headers=SAME_ORIGIN)
        await asyncio.gather(*(service.post(sample("finish", id=f"a.{number}")) for number in range(ROWS + 3)))
        note_changes(tmp_path, ROWS + 2)  # the pause is in the log too
        form = {"stage": "to_evaluate", "search": "wayne"}
        found = (await client.post("/interviews", data=form, headers=SAME_ORIGIN)).headers["location"]
        for path, row in (
            (found, r'href="(/interviews/one\?id=[^"]+)"'),
            ("/deliveries?sink=sheet&state=pending", r'href="(/deliveries/\d+)"'),
            ("/audit", r'data-label="On what"><a href="[^"]+">([^<]+)'),
        ):
            first = (await client.get(path)).text
            (address,) = re.findall(r'rel="next" href="([^"]+)">Next page', first)
            second = (await client.get(html.unescape(address))).text
            counts = [len(set(re.findall(row, page))) for page in (first, second, first + second)]
            assert (path, counts) == (path, [ROWS, 3, ROWS + 3])
            assert (path, ["hx-get" in page for page in (first, second)]) == (path, [True, False])
            assert (path, "Next page" in second) == (path, False)
            assert html.unescape(address).startswith(path)
            assert f'href="{html.escape(path)}">First page' in second


@pytest.mark.parametrize("path", ["/nothing", "/deliveries/999", "/interviews/one?id=x", "/sinks/none"])
async def test_what_is_missing_is_said(tmp_path, path):
    async with dashboard(tmp_path) as (_, client):
        answer = await client.get(path)
        assert answer.status_code == 404
        assert "Not found" in answer.text


@pytest.mark.parametrize(
    "path",
    [
        "/deliveries?since=x&until=9999999999999999999&event=-1&state=no&after=1.x",
        "/interviews?stage=no&after=x",
        "/interviews?after=1.%00",
        "/audit?after=1",
    ],
)
async def test_a_filter_that_means_nothing_is_ignored(tmp_path, path):
    async with dashboard(tmp_path) as (_, client):
        assert (await client.get(path)).status_code == 200


async def test_no_text_of_a_candidate_becomes_markup(tmp_path):
    """Every hostile text as name, address and position, on every page."""
    async with dashboard(tmp_path, SHEET) as (service, client):
        texts = [
            *HOSTILE_TEXTS.values(),
            '"><script>alert(1)</script>',
            "<b hx-get=/x>",
            "'\"><img src=x onerror=alert(1)>",
        ]
        for number, text in enumerate(texts):
            payload = sample("finish", id=f"<i>{number}")
            payload["data"]["candidate"] = {"name": text, "email": text}
            payload["data"]["position"] = {"id": text[:50], "name": text}
            await service.post(payload)
        await settled(client, "/deliveries?state=delivered", "delivered")
        one = [f"/interviews/one?id=%3Ci%3E{number}" for number in range(len(texts))]
        for path in [*ADDRESSES, "/sinks/sheet", "/deliveries/1", *one]:
            page = (await client.get(path)).text
            found = Markup(page)
            assert found.tags & {"img", "b", "i", "marquee", "iframe"} == set()
            assert found.scripts == 4
            assert [name for name in found.attributes if name.startswith("on") or name == "style"] == []
            assert "/x" not in found.attributes.values()
            assert not re.search("[\u202a-\u202e\u2066-\u2069]", page)


async def test_the_simulator_says_which_routes_match_and_why_others_do_not(tmp_path):
    async with dashboard(tmp_path, ROUTED) as (_, client):
        page = (await client.get("/routes")).text
        assert "Event is finish and score is 3 or more" in page
        body = json.dumps(sample("finish", score={"team": 1}))
        data = {"body": body, "token": token_in(page)}
        shown = (await client.post("/routes", data=data, headers=SAME_ORIGIN)).text
        assert "No sink gets it." in shown
        assert (await client.post("/routes", data={"body": body})).status_code == 403


async def test_a_payload_that_is_no_json_is_explained(tmp_path):
    async with dashboard(tmp_path) as (_, client):
        answer = await client.post("/routes", data={"body": "{"}, headers=SAME_ORIGIN)
        assert answer.status_code == 200
        assert "unreadable" in answer.text


async def test_the_pages_are_in_the_language_of_the_settings(tmp_path):
    async with dashboard(tmp_path, 'language = "es"\n' + CONSOLE_ONLY + DASHBOARD) as (service, client):
        await service.post(sample("finish"))
        overview = await settled(client, "/", "Por evaluar")
        assert '<html lang="es"' in overview
        assert "Todo sincronizado" in overview or "entrega en curso" in overview
        for address in ADDRESSES:
            assert (await client.get(address)).status_code == 200
        interviews = (await client.get("/interviews")).text
        assert ("<h1>Entrevistas</h1>" in interviews, ">Por evaluar</span>" in interviews) == (True, True)
        one = re.search(r'/interviews/one\?id=[^"]+', interviews)
        assert one is not None
        page = (await client.get(html.unescape(one[0]))).text
        assert all(word in page for word in ("Historial", "Decidir", "Correo"))
        await client.post("/sign-out", data={"token": token_in(page)}, headers=SAME_ORIGIN)
        assert "Contraseña" in (await client.get("/sign-in")).text


async def test_no_page_has_an_english_word_when_the_language_is_another(tmp_path):
    """Except in what comes from outside, and in reasons and remedies."""
    async with dashboard(tmp_path, SPANISH) as (service, client):
        for name in ("finish", "create", "status-change"):
            await service.post(sample(name, id="i1"))
        await service.post(b"{")
        await settled(client, "/deliveries?state=delivered", "i1")
        (delivery, *_) = re.findall(r'href="(/deliveries/\d+)"', (await client.get("/deliveries")).text)
        id_ = delivery.rsplit("/", 1)[1]
        pages = {}

        async def see(address, **form):
            sent = client.post(address, data=form, headers=SAME_ORIGIN) if form else client.get(address)
            answer = await sent
            if answer.status_code == 303:
                answer = await client.get(answer.headers["location"])
            pages[address] = Shown(answer.text)

        for address in (*ADDRESSES, "/interviews/one?id=i1", "/sinks/console", "/sinks/sheet", delivery, "/decisions"):
            await see(address)
        for address in (f"/actions/selection?ids={id_}", "/actions/erase?interview=i1", "/nowhere", "/routes?event=4"):
            await see(address)
        await see("/actions/pause", sink="console", until="2100-01-01T08:00")
        await see("/actions/verify", sink="sheet")
        await see("/actions/resume", sink="console")
        await see("/actions/replay", ids=id_)
        await see("/actions/dismiss", ids=id_, why="ya no hace falta")
        await see("/actions/decide", decision="none")
        await see("/events/1", show="1")
        await see("/actions/erase", interview="i1")
        await see("/audit")
        client.cookies.clear()
        await see("/sign-in", password="wrong")
        assert {address: page.english() for address, page in pages.items() if page.english()} == {}


FIVE = "".join(f'[sinks.s{number}]\ntype = "console"\n' for number in range(5)) + DASHBOARD


async def test_the_page_of_the_sinks_shows_every_trouble_and_other_pages_the_first_three(tmp_path):
    async with dashboard(tmp_path, FIVE) as (_, client):
        for number in range(5):
            await client.post("/actions/pause", data={"sink": f"s{number}"}, headers=SAME_ORIGIN)
        counts = {}
        for path in ("/", "/sinks/s1", "/sinks"):
            page = (await client.get(path)).text
            counts[path] = (page.count('class="trouble warn"'), "and 2 more" in page)
    assert counts == {"/": (3, True), "/sinks/s1": (3, True), "/sinks": (5, False)}


async def test_a_pending_delivery_says_when_its_sink_is_paused(tmp_path):
    async with dashboard(tmp_path, SHEET) as (service, client):
        await client.post("/actions/pause", data={"sink": "sheet"}, headers=SAME_ORIGIN)
        await service.post(sample("finish", id="i1"))
        for path in ("/deliveries", "/deliveries/1", "/interviews/one?id=i1"):
            assert (path, "the sink is paused" in (await client.get(path)).text) == (path, True)


async def test_a_planned_delivery_was_not_received_and_shows_its_time(tmp_path):
    async with dashboard(tmp_path, SHEET) as (service, client):
        await service.post(sample("finish", id="i1"))
        await settled(client, "/deliveries?state=delivered", "Wayne Knight")
        page = await settled(client, "/deliveries?state=pending", "planned for")
        assert re.findall(r'data-label="Received or replayed">\s*(<time|</td>)', page) == ["</td>"]


async def test_a_command_in_a_remedy_looks_like_code(tmp_path):
    async with dashboard(tmp_path, SHEET) as (_, client):
        with closing(sqlite3.connect(tmp_path / "data" / "connector.db")) as store, store:
            store.execute("UPDATE sink SET paused = 'until_person', reason = 'x', fix = 'set `path` & <wait>'")
        page = (await client.get("/sinks/sheet")).text
        assert page.count("Set <code>path</code> &amp; &lt;wait&gt;.") == 2


async def test_a_sink_with_dead_letters_is_not_shown_as_in_sync(tmp_path):
    async with dashboard(tmp_path, SHEET) as (service, client):
        await service.post(sample("finish", id="i1"))
        await settled(client, "/deliveries?state=delivered", "Wayne Knight")
        with closing(sqlite3.connect(tmp_path / "data" / "connector.db")) as store, store:
            store.execute("UPDATE delivery SET state = 3, reason = 'x' WHERE interview_id = 'i1'")
        for path in ("/", "/sinks", "/sinks/sheet"):
            page = (await client.get(path)).text
            states = [text.strip() for text in re.findall(r'class="state">.*?</svg>([^<]+)<', page, re.DOTALL)]
            assert (path, states) == (path, ["dead letters"])


async def test_an_unreadable_event_is_found_from_the_overview(tmp_path):
    async with dashboard(tmp_path, SHEET) as (service, client):
        await service.post(b"{")
        assert re.findall(r'href="(/events/\d+)">(\w+)<', (await client.get("/")).text) == [("/events/1", "unreadable")]


async def test_a_change_leads_to_the_page_of_its_sink(tmp_path):
    async with dashboard(tmp_path, SHEET) as (_, client):
        await client.post("/actions/pause", data={"sink": "sheet"}, headers=SAME_ORIGIN)
        audit = (await client.get("/audit")).text
        assert re.findall(r'data-label="On what"><a href="([^"]+)">([^<]+)', audit) == [("/sinks/sheet", "sheet")]


async def test_head_is_answered_as_get_without_the_body(tmp_path):
    """Monitors and load balancers ask by it."""
    async with dashboard(tmp_path) as (_, client):
        for path in ("/health/live", "/health/ready", "/metrics", "/", "/api/status", "/nothing"):
            found = await client.head(path)
            expected = await client.get(path)
            assert (path, found.status_code, found.content) == (path, expected.status_code, b"")
            assert found.headers["content-type"] == expected.headers["content-type"]


async def test_the_page_of_a_settled_delivery_has_nothing_to_do_while_its_sink_is_paused(tmp_path):
    async with dashboard(tmp_path) as (service, client):
        await service.post(sample("finish", id="i1"))

        async def is_settled():
            return (await client.get("/api/deliveries?state=superseded")).json()["rows"]

        await until(is_settled)
        await client.post("/actions/pause", data={"sink": "console"}, headers=SAME_ORIGIN)
        assert "What to do" in (await client.get("/sinks/console")).text
        assert "What to do" not in (await client.get("/deliveries/1")).text
