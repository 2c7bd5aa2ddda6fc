"""No address has the name or the e-mail address of a candidate: proxies, logs and browsers keep addresses."""

from __future__ import annotations

import html
import re
from html.parser import HTMLParser
from urllib.parse import parse_qsl, unquote_plus, urlsplit

import pytest

from connector.web.auth import SEALED_SECONDS, seal, session_key, unseal
from tests.serving import sample
from tests.web.browsing import SAME_ORIGIN, dashboard
from tests.web.test_actions import act, make_dead
from tests.web.test_api import BEARER, TOML
from tests.web.test_decisions import deciding, hold

LAST = ("/actions/erase", "/sign-out")
"""Forms that end the walk: without the person or the session there is nothing left to see."""
EXPIRED = "This search has expired."
KEY = session_key("stored", ["hash"])
NOW = 1_700_000_000_000


class Links(HTMLParser):
    """The addresses in a page, and its forms with the values that a user would send: text fields have `text`."""

    def __init__(self, page, text):
        super().__init__()
        self.addresses, self.forms, self._text, self._select = [], [], text, None
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.addresses += [found[name] for name in ("href", "src", "hx-get", "action") if name in found]
        if tag == "form":
            self.forms.append((found["method"], found["action"], {}))
        elif self.forms and "name" in found:
            values = self.forms[-1][2]
            if tag == "select":
                self._select = found["name"]
            elif tag == "textarea" or found.get("type") == "search" or found["name"] == "why":
                values[found["name"]] = self._text
            elif tag in {"input", "button"}:
                values[found["name"]] = found.get("value", "")
        elif tag == "option" and "selected" in found and self._select is not None:
            self.forms[-1][2][self._select] = found.get("value", "")


def kind_of(address):
    """Addresses that differ in an id, a time or a value only are of one kind."""
    parts = urlsplit(address)
    return re.sub(r"\d+", "1", parts.path), *sorted(name for name, _ in parse_qsl(parts.query))


class Walk:
    """Opens one link of each kind and sends one form of each kind, with `text` in its fields, and keeps every address
    that it meets.
    """

    def __init__(self, client, text):
        self.client, self.text = client, text
        self.met, self._kinds, self._pages, self._forms = set(), set(), ["/"], []

    async def all(self):
        while self._pages or self._forms:
            if self._pages:
                self._read(await self.client.get(self._pages.pop()))
            else:
                self._forms.sort(key=lambda form: LAST.index(form[1]) if form[1] in LAST else -1)
                await self._send(*self._forms.pop(0))

    async def _send(self, method, action, values):
        if method == "get":
            self._read(await self.client.get(action, params=values))
        else:
            self._read(await self.client.post(action, data=values, headers=SAME_ORIGIN))

    def _read(self, answer):
        found = Links(answer.text, self.text)
        addresses = [*found.addresses, *answer.headers.get_list("location")]
        self.met |= {str(answer.request.url), *addresses}
        for address in addresses:
            if address.startswith("/") and not address.startswith("/static") and self._is_new("get", address):
                self._pages.append(address)
        self._forms += [form for form in found.forms if self._is_new("form", form[1], *sorted(form[2]))]

    def _is_new(self, what, address, *more):
        kind = (what, kind_of(address), *more)
        is_new = kind not in self._kinds
        self._kinds.add(kind)
        return is_new


async def test_no_link_form_or_redirect_of_the_dashboard_has_the_name_or_the_address_of_a_candidate(tmp_path):
    async with deciding(tmp_path) as (_, [ana, bo], service, client):
        await act(client, "/actions/pause", sink="console")
        await service.post(sample("finish", id="i1"))
        make_dead(tmp_path)
        for number, person in enumerate([ana, bo]):
            hold(tmp_path, person, f"decision-{number}")
        walk = Walk(client, f"Ana García {ana.email}")
        await walk.all()
    paths = {kind_of(each)[0] for each in walk.met}
    assert {"/interviews/one", "/deliveries", "/actions/erase", "/actions/dismiss", "/actions/decide"} <= paths
    assert {"/events/1", "/actions/answer-decisions", "/actions/sample", "/sign-in"} <= paths
    assert any("search=" in each for each in walk.met)
    personal = ("garcía", "knight", ana.email.partition("@")[0], "@example.com")
    assert [each for each in walk.met if any(word in unquote_plus(each).casefold() for word in personal)] == []


async def search(client, text, **filters):
    """The address that the form of the interviews leads to."""
    answer = await client.post("/interviews", data={"search": text, **filters}, headers=SAME_ORIGIN)
    assert answer.status_code == 303
    return answer.headers["location"]


async def test_a_search_finds_a_candidate_by_name_and_keeps_the_other_filters(tmp_path):
    async with dashboard(tmp_path, TOML) as (service, client):
        await service.post(sample("finish", id="i1"))
        address = await search(client, " Wayne ", stage="to_evaluate")
        assert address.startswith("/interviews?stage=to_evaluate&search=")
        page = (await client.get(address)).text
        assert ("Wayne Knight" in page, 'name="search" value="Wayne"' in page) == (True, True)
        assert f'hx-get="{html.escape(address)}"' in page
        assert "No interview matches." in (await client.get(await search(client, "Newman"))).text
        assert await search(client, "  ", sink="sheet") == "/interviews?sink=sheet"


async def test_an_unchanged_search_is_answered_with_304(tmp_path):
    async with dashboard(tmp_path, TOML) as (_, client):
        address = await search(client, "Wayne")
        tag, seen = "", set()
        for _ in range(50):  # the first lease of the sink, and every ten seconds, change the page
            polled = await client.get(address, headers={"hx-ptag": tag, "hx-request": "true"})
            tag = polled.headers["hx-ptag"]
            seen.add(polled.status_code)
        assert seen == {200, 304}


@pytest.mark.parametrize("value", ["Wayne", seal(KEY, "Wayne", NOW), "é"], ids=["plain", "foreign", "not ASCII"])
async def test_a_search_that_cannot_be_read_is_empty_with_a_sentence_and_not_kept(tmp_path, value):
    async with dashboard(tmp_path, TOML) as (service, client):
        await service.post(sample("finish", id="i1"))
        page = (await client.get("/interviews", params={"stage": "to_evaluate", "search": value})).text
    assert (EXPIRED in page, 'name="search" value=""' in page, "Wayne Knight" in page) == (True, True, True)
    assert [each for each in Links(page, "").addresses if "search=" in each] == []
    assert 'name="then" value="/interviews?stage=to_evaluate"' in page


def test_a_sealed_text_is_read_for_a_day_with_the_same_key_only():
    value = seal(KEY, "Zoë Ñandú", NOW)
    assert unseal(KEY, value, NOW + SEALED_SECONDS * 1000) == "Zoë Ñandú"
    assert unseal(KEY, value, NOW + SEALED_SECONDS * 1000 + 1000) is None
    assert unseal(session_key("stored", ["a new password"]), value, NOW) is None
    assert unseal(KEY, value[:-4] + "AAA=", NOW) is None


async def test_a_program_searches_with_a_body(tmp_path):
    async with dashboard(tmp_path, TOML, password=None) as (service, client):
        for number in range(3):
            await service.post(sample("finish", id=f"i{number}"))
        for kind in ("interviews", "events"):
            found, after = [], ""
            while after or not found:
                body = {"search": "wayne kni", "limit": 2, "after": after}
                answer = (await client.post(f"/api/{kind}/search", json=body, headers=BEARER)).json()
                found += [row["candidate_name"] for row in answer["rows"]]
                after = answer["next"]
            assert (kind, found) == (kind, ["Wayne Knight"] * 3)
            nothing = await client.post(f"/api/{kind}/search", json={"search": "newman"}, headers=BEARER)
            assert nothing.json() == {"rows": [], "next": ""}


async def test_a_search_by_a_program_has_the_filters_of_the_listing(tmp_path):
    async with dashboard(tmp_path, TOML, password=None) as (service, client):
        for number in range(2):
            await service.post(sample("finish", id=f"i{number}"))
        body = {"search": "wayne", "interview": "i1"}
        found = (await client.post("/api/events/search", json=body, headers=BEARER)).json()
        assert [row["interview_id"] for row in found["rows"]] == ["i1"]
        body = {"search": "wayne", "sink": "nowhere"}
        refused = await client.post("/api/interviews/search", json=body, headers=BEARER)
        assert (refused.status_code, "nowhere" in refused.json()["detail"]) == (422, True)

        schema = (await client.get("/schema/openapi.json", headers=BEARER)).json()
        for kind, name in (("interviews", "InterviewSearch"), ("events", "EventSearch")):
            listed = {each["name"] for each in schema["paths"][f"/api/{kind}"]["get"]["parameters"]}
            [body] = [each for title, each in schema["components"]["schemas"].items() if title.endswith(name)]
            assert {*body["properties"]} == listed | {"search"}


@pytest.mark.parametrize("kind", ["interviews", "events", "deliveries", "attempts"])
async def test_a_search_in_an_address_of_the_api_is_refused_with_the_way_to_search(tmp_path, kind):
    async with dashboard(tmp_path, TOML, password=None) as (_, client):
        answer = await client.get(f"/api/{kind}?search=wayne", headers=BEARER)
        assert answer.status_code == 422
        assert "Search is not a parameter of an address" in answer.json()["detail"]
        assert "/api/interviews/search" in answer.json()["detail"]
        assert "wayne" not in answer.text
