"""Sign-in: passwords, sessions, a proxy that signs users in, and refusals."""

from __future__ import annotations

import re

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.config import load
from connector.errors import UsageError
from connector.operations.password import can_sign_in, ensure_password, hash_of, matches, password_file, reset_password
from connector.web.auth import (
    ATTEMPTS,
    PERIOD_SECONDS,
    Throttle,
    WebSession,
    ended_sessions,
    form_token,
    is_form_token,
    read_session,
    session_key,
    store_end,
    write_session,
)
from connector.web.dashboard.app import BODY_BYTES, PAGES
from connector.web.dashboard.routes import BODY_MAX
from connector.web.dashboard.sign_in import FORM_BYTES, own_path
from tests.serving import CONSOLE_ONLY
from tests.store.kit import memory
from tests.web.browsing import (
    DASHBOARD,
    HTML,
    PASSWORD,
    SAME_ORIGIN,
    VIEW_PASSWORD,
    browser,
    dashboard,
    sign_in,
    token_in,
)

KEY = session_key("stored", ["hash"])
PROXY = CONSOLE_ONLY + '\n[dashboard]\ntrust_header = "X-Forwarded-User"\nact_users = ["ana@example.org"]\n'


def guarded():
    """Every method and address that needs a sign-in."""
    for handler in PAGES:
        if not handler.opt.get("public"):
            for path in handler.paths:
                for method in sorted(handler.http_methods - {"HEAD", "OPTIONS"}):
                    yield method, path


async def test_the_right_password_opens_the_page_that_was_asked_for(tmp_path):
    async with dashboard(tmp_path, password=None) as (_, client):
        asked = await client.get("/?a=b")
        assert (asked.status_code, asked.headers["location"]) == (303, "/sign-in?then=/%3Fa%3Db")
        entered = await sign_in(client, then="/?a=b")
        assert (entered.status_code, entered.headers["location"]) == (303, "/?a=b")
        assert (await client.get("/?a=b")).status_code == 200


async def test_a_wrong_password_is_refused_with_a_sentence(tmp_path):
    async with dashboard(tmp_path, password=None) as (_, client):
        refused = await sign_in(client, "wrong horse battery")
        assert refused.status_code == 403
        assert "The password is wrong." in refused.text
        assert (await client.get("/")).status_code == 303


async def test_the_session_cookie_is_hidden_from_scripts_and_other_sites(tmp_path):
    async with dashboard(tmp_path, password=None) as (_, client):
        answer = await sign_in(client)
        (cookie,) = [text for text in answer.headers.get_list("set-cookie") if text.startswith("connector_session=")]
        assert "HttpOnly" in cookie
        assert "SameSite=lax" in cookie
        assert "Secure" not in cookie


async def test_behind_https_the_cookie_needs_https_and_this_host(tmp_path):
    toml = CONSOLE_ONLY + DASHBOARD + '\n[server]\nport = 0\ntrusted_proxies = ["127.0.0.1"]\n'
    async with dashboard(tmp_path, toml, password=None) as (_, client):
        data, headers = {"password": PASSWORD}, SAME_ORIGIN | {"x-forwarded-proto": "https"}
        answer = await client.post("/sign-in", data=data, headers=headers)
        (cookie,) = [text for text in answer.headers.get_list("set-cookie") if "connector_session=" in text]
        assert cookie.startswith("__Host-connector_session=")
        assert "Secure" in cookie


async def test_signing_out_ends_the_session_of_the_browser(tmp_path):
    async with dashboard(tmp_path) as (_, client):
        assert (await client.post("/sign-out", headers=SAME_ORIGIN)).status_code == 303
        assert (await client.get("/")).status_code == 303


async def test_signing_out_also_ends_a_copy_of_the_cookie_and_no_other_session(tmp_path):
    async with dashboard(tmp_path) as (service, client), browser(service) as thief, browser(service) as other:
        thief.cookies = httpx.Cookies(client.cookies)
        await sign_in(other)
        await client.post("/sign-out", headers=SAME_ORIGIN)
        assert [(await one.get("/")).status_code for one in (thief, other)] == [303, 200]


def test_sessions_that_ended_are_forgotten_when_they_expire():
    """What is stored about them stays small."""
    with memory() as connection:
        for now in (0, 5, 10):
            store_end(connection, WebSession("operator", may_act=True, expires_at=now + 10), now)
        assert sorted(ended_sessions(connection).ended.values()) == [15, 20]


async def test_too_many_wrong_passwords_have_to_wait(tmp_path):
    async with dashboard(tmp_path, password=None) as (_, client):
        for _ in range(ATTEMPTS):
            assert (await sign_in(client, "guess guess guess")).status_code == 403
        refused = await sign_in(client)
        assert refused.status_code == 429
        assert 0 < int(refused.headers["retry-after"]) <= PERIOD_SECONDS + 1


def test_a_client_waits_until_its_oldest_attempt_is_over_and_others_do_not():
    throttle = Throttle()
    for at in range(ATTEMPTS):
        assert throttle.wait_seconds("a", at) == 0
        throttle.attempt("a", at)
    assert throttle.wait_seconds("a", ATTEMPTS) == PERIOD_SECONDS - ATTEMPTS
    assert throttle.wait_seconds("b", ATTEMPTS) == 0
    assert throttle.wait_seconds("a", PERIOD_SECONDS) == 0


def test_a_client_that_signs_in_may_fail_again():
    throttle = Throttle()
    for _ in range(ATTEMPTS):
        throttle.attempt("a", 0)
    throttle.succeeded("a")
    assert throttle.wait_seconds("a", 1) == 0


async def test_every_page_and_action_needs_a_sign_in(tmp_path):
    async with dashboard(tmp_path, password=None) as (_, client):
        for method, path in guarded():
            answer = await client.request(method, re.sub(r"{.*?}", "1", path), headers=SAME_ORIGIN)
            assert (path, answer.status_code, answer.headers.get("location", "")[:8]) == (path, 303, "/sign-in")


async def test_webhook_health_and_metrics_need_none(tmp_path):
    async with dashboard(tmp_path, password=None) as (_, client):
        for path in ("/webhooks/hireflix", "/health/live", "/health/ready", "/metrics"):
            assert (await client.get(path)).status_code == 200


@pytest.mark.parametrize("site", ["cross-site", "same-site", "none"])
async def test_a_form_of_another_site_is_refused(tmp_path, site):
    async with dashboard(tmp_path) as (_, client):
        token = token_in((await client.get("/")).text)
        answer = await client.post("/sign-out", data={"token": token}, headers={"sec-fetch-site": site})
        assert answer.status_code == 403
        assert (await client.get("/")).status_code == 200


async def test_without_fetch_metadata_a_form_needs_its_own_token(tmp_path):
    """Browsers send Sec-Fetch-Site on https and loopback only."""
    async with dashboard(tmp_path) as (service, client), browser(service) as other:
        await sign_in(other)
        foreign = token_in((await other.get("/")).text)
        for data in ({}, {"token": foreign}, {"token": ""}):
            assert (await client.post("/sign-out", data=data)).status_code == 403
        token = token_in((await client.get("/")).text)
        assert (await client.post("/sign-out", data={"token": token})).status_code == 303


async def test_the_sign_in_form_works_without_fetch_metadata(tmp_path):
    async with dashboard(tmp_path, password=None) as (_, client):
        assert (await client.post("/sign-in", data={"password": PASSWORD})).status_code == 403
        token = token_in((await client.get("/sign-in")).text)
        assert (await client.post("/sign-in", data={"password": PASSWORD, "token": token})).status_code == 303


@pytest.mark.parametrize("in_parts", [False, True])
async def test_a_body_that_is_larger_than_any_form_of_ours_is_refused_before_it_is_parsed(tmp_path, in_parts):
    """A million fields would hold the event loop for ten seconds, and webhooks with it; no sign-in is needed."""

    async def parts(body):
        yield body

    async with dashboard(tmp_path, password=None) as (_, client):
        headers = SAME_ORIGIN | {"content-type": "application/x-www-form-urlencoded"}
        statuses = []
        for size in (FORM_BYTES, FORM_BYTES + 1):
            body = b"password=" + b"x" * (size - 9)
            answer = await client.post("/sign-in", content=parts(body) if in_parts else body, headers=headers)
            statuses.append(answer.status_code)
        assert statuses == [403, 413]


@pytest.mark.parametrize("path", ["/sign-in", "/actions/pause", "/routes", "/theme"])
async def test_a_form_in_parts_is_refused_and_logs_no_error(tmp_path, capsys, path):
    """Anyone could fill the log with tracebacks: the parser fails for an unknown character set."""
    part = (
        b"--x\r\ncontent-disposition: form-data; name=password\r\ncontent-type: text/plain; charset=none\r\n\r\na\r\n"
    )
    async with dashboard(tmp_path) as (_, client):
        headers = SAME_ORIGIN | {"content-type": "multipart/form-data; boundary=x"}
        answer = await client.post(path, content=part + b"--x--\r\n", headers=headers)
    assert answer.status_code == 415
    assert "request failed" not in "".join(capsys.readouterr())


@pytest.mark.parametrize("path", ["/api/interviews/search", "/actions/decide"])
async def test_a_large_body_of_a_user_is_refused(tmp_path, path):
    async with dashboard(tmp_path) as (_, client):
        kind = "application/json" if path.startswith("/api") else "application/x-www-form-urlencoded"
        headers = SAME_ORIGIN | {"content-type": kind}
        answer = await client.post(path, content=b" " * (BODY_BYTES + 1), headers=headers)
        assert answer.status_code == 413


async def test_the_longest_payload_can_be_explained_in_any_script(tmp_path):
    async with dashboard(tmp_path) as (_, client):
        answer = await client.post("/routes", data={"body": "\U0001f600" * BODY_MAX}, headers=SAME_ORIGIN)
        assert answer.status_code == 200


async def test_a_page_has_a_strict_content_policy_with_a_new_nonce(tmp_path):
    async with dashboard(tmp_path) as (_, client):
        one, other = [(await client.get("/")).headers["content-security-policy"] for _ in range(2)]
        assert "default-src 'none'" in one
        assert "unsafe" not in one
        assert one != other


async def test_a_proxy_gives_the_name_and_the_configuration_the_right(tmp_path):
    async with dashboard(tmp_path, PROXY, password=None) as (_, client):
        for name, right in (("ana@example.org", "may view and act"), ("bob@example.org", "may only view")):
            page = await client.get("/", headers={"X-Forwarded-User": name})
            assert page.status_code == 200
            assert f'title="{right}">{name}' in page.text


async def test_the_header_of_anybody_else_is_ignored(tmp_path):
    elsewhere = PROXY + 'trust_addresses = ["10.0.0.5"]\n'
    async with dashboard(tmp_path, elsewhere, password=None) as (_, client):
        answer = await client.get("/", headers={"X-Forwarded-User": "ana@example.org"})
        assert answer.status_code == 303


async def test_the_proxy_itself_counts_and_not_the_client_that_it_names(tmp_path):
    """X-Forwarded-For must not make another client look like the proxy."""
    toml = PROXY + 'trust_addresses = ["10.0.0.5"]\n[server]\nport = 0\ntrusted_proxies = ["127.0.0.1"]\n'
    async with dashboard(tmp_path, toml, password=None) as (_, client):
        headers = {"X-Forwarded-User": "ana@example.org", "X-Forwarded-For": "10.0.0.5"}
        assert (await client.get("/", headers=headers)).status_code == 303


async def test_two_names_are_none(tmp_path):
    async with dashboard(tmp_path, PROXY, password=None) as (service, _):
        headers = [("X-Forwarded-User", "ana@example.org"), ("X-Forwarded-User", "eve"), ("accept", "text/html")]
        async with httpx.AsyncClient() as client:
            assert (await client.get(f"{service.url}/", headers=headers)).status_code == 303


@pytest.mark.parametrize(
    "then",
    [
        "//evil.example",
        "https://evil.example/",
        "/\\evil.example",
        "javascript:alert(1)",
        "///evil",
        "/metrics",
        "",
        "[",
    ],
)
def test_the_sign_in_never_leads_away(then):
    assert own_path(then) == "/"


@given(st.text(), st.booleans(), st.integers(min_value=1, max_value=2**50))
def test_a_session_is_read_as_it_was_written_until_it_expires(name, may_act, expires_at):
    session = WebSession(name[:100], may_act, expires_at)
    cookie = write_session(KEY, session)
    if len(cookie) <= 1024:
        assert read_session(KEY, cookie, expires_at - 1) == session
    assert read_session(KEY, cookie, expires_at) is None


@given(st.integers(min_value=0), st.characters(codec="ascii"))
def test_a_changed_cookie_is_refused(place, char):
    cookie = write_session(KEY, WebSession("operator", may_act=False, expires_at=2**50))
    place %= len(cookie)
    changed = cookie[:place] + char + cookie[place + 1 :]
    assert changed == cookie or read_session(KEY, changed, 0) is None


def test_a_changed_password_ends_every_session():
    cookie = write_session(KEY, WebSession("operator", may_act=True, expires_at=2**50))
    assert read_session(session_key("stored", ["other hash"]), cookie, 0) is None


def test_a_form_token_belongs_to_its_owner():
    assert is_form_token(KEY, "ana", form_token(KEY, "ana"))
    assert form_token(KEY, "ana") != form_token(KEY, "ana"), "a repeated secret shows in the size of compressed pages"
    assert not is_form_token(KEY, "bob", form_token(KEY, "ana"))
    assert not is_form_token(KEY, "ana", write_session(KEY, WebSession("ana", may_act=True, expires_at=2**50)))


def test_a_hash_uses_argon2id_with_19_mib():
    stored = hash_of(PASSWORD)
    assert stored.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert matches(PASSWORD, stored)
    assert not matches(PASSWORD + " ", stored)
    assert not matches(PASSWORD, "$argon2id$nonsense")


def test_the_first_start_makes_a_password_and_stores_only_its_hash(tmp_path):
    config = load(environ={}, cwd=tmp_path)
    made = ensure_password(config)
    file = password_file(config)
    assert file.stat().st_mode & 0o777 == 0o600
    assert made not in file.read_text()
    assert matches(made, file.read_text().strip())
    assert ensure_password(config) is None


def test_a_new_password_replaces_the_generated_one_only(tmp_path):
    config = load(environ={}, cwd=tmp_path)
    first = ensure_password(config)
    second = reset_password(config)
    assert matches(second, password_file(config).read_text().strip())
    assert first != second
    configured = load(environ={"CONNECTOR_DASHBOARD__PASSWORD": PASSWORD}, cwd=tmp_path)
    with pytest.raises(UsageError, match="the configuration says who signs in"):
        reset_password(configured)


def test_with_postgresql_the_password_is_a_setting(tmp_path):
    environ = {"CONNECTOR_STORE__URL": "postgresql://a:b@localhost/c", "CONNECTOR_SINKS__WORKBOOK__PATH": "x.xlsx"}
    config = load(environ=environ, cwd=tmp_path)
    assert ensure_password(config) is None
    assert not can_sign_in(config)
    assert can_sign_in(load(environ=environ | {"CONNECTOR_DASHBOARD__PASSWORD": PASSWORD}, cwd=tmp_path))


async def test_a_configured_hash_and_the_password_for_viewing_work(tmp_path):
    toml = CONSOLE_ONLY + f"\n[dashboard]\npassword = '{hash_of(PASSWORD)}'\nview_password = '{VIEW_PASSWORD}'\n"
    async with dashboard(tmp_path, toml) as (service, client), browser(service) as viewer:
        assert "may view and act" in (await client.get("/")).text
        await sign_in(viewer, VIEW_PASSWORD)
        assert "may only view" in (await viewer.get("/")).text


async def test_a_disabled_dashboard_has_no_pages(tmp_path):
    toml = CONSOLE_ONLY + DASHBOARD + "enabled = false\n"
    async with dashboard(tmp_path, toml, password=None) as (_, client):
        assert (await client.get("/")).status_code == 404
        assert (await client.get("/sign-in")).status_code == 404


async def test_health_and_metrics_can_have_an_address_of_their_own(tmp_path):
    from connector.web.server import base_address, bind

    with bind("127.0.0.1", 0) as free:
        address = base_address(free)
    toml = CONSOLE_ONLY + DASHBOARD + f"\n[server]\nport = 0\nmetrics_port = {address.rsplit(':', 1)[1]}\n"
    async with dashboard(tmp_path, toml) as (_, client):
        assert (await client.get("/health/live")).status_code == 200
        assert (await client.get("/metrics")).status_code == 404
        for path in ("/metrics", "/health/ready"):
            assert (await client.get(address + path)).status_code == 200
        assert (await client.get(address + "/", headers=HTML)).status_code == 404


async def test_a_signed_in_page_that_did_not_change_is_not_sent_again(tmp_path):
    async with dashboard(tmp_path) as (_, client):
        tags = set()
        for _ in range(5):  # a step of the clock may fall between two requests
            tag = (await client.get("/")).headers["hx-ptag"]
            again = await client.get("/", headers={"hx-ptag": tag, "hx-request": "true"})
            tags.add((again.status_code, again.content))
        assert (304, b"") in tags


async def test_a_poll_without_a_session_opens_the_sign_in(tmp_path):
    async with dashboard(tmp_path, password=None) as (_, client):
        answer = await client.get("/", headers={"hx-request": "true"})
        assert (answer.status_code, answer.headers["hx-redirect"]) == (401, "/sign-in?then=/")
