"""The client of the API answers every kind of reply of the server with the right exception."""

from __future__ import annotations

import httpx
import pytest
import respx

from connector.hireflix.api import (
    ActionRefused,
    HireflixApi,
    HireflixUnavailable,
    KeyRefused,
    QueryRefused,
    require_result,
)

URL = "https://api.example.test/me"
KEY = "3f1c-secret-key"


class Waits(list):
    async def __call__(self, seconds):
        self.append(seconds)


@pytest.fixture
def waits():
    return Waits()


@pytest.fixture
async def api(waits):
    async with HireflixApi(KEY, URL, now=lambda: 1_000_000, sleep=waits) as one:
        yield one


@pytest.fixture
def server():
    with respx.mock(assert_all_called=False) as mock:
        yield mock.post(URL)


def replies(data=None, status=200, headers=None, **rest):
    return httpx.Response(status, json={"data": data, **rest}, headers=headers)


async def test_the_key_is_sent_as_a_header(api, server):
    server.mock(return_value=replies({"positions": []}))

    await api.positions()

    assert server.calls.last.request.headers["X-API-KEY"] == KEY


async def test_the_wait_that_a_429_asks_for_is_obeyed(api, server, waits):
    server.side_effect = [httpx.Response(429, headers={"Retry-After": "17"}), replies({"positions": []})]

    await api.positions()

    assert waits == [17]


async def test_a_user_does_not_wait_for_as_long_as_a_429_asks_for(server, waits):
    server.mock(return_value=httpx.Response(429, headers={"Retry-After": "600"}))
    async with HireflixApi(KEY, URL, now=lambda: 1_000_000, sleep=waits, patience_seconds=5) as api:
        with pytest.raises(HireflixUnavailable, match="HTTP 429"):
            await api.positions()
    assert waits == []


async def test_a_server_error_is_tried_again_with_growing_waits(api, server, waits):
    server.mock(return_value=httpx.Response(503))

    with pytest.raises(HireflixUnavailable):
        await api.positions()

    assert len(waits) == 5
    assert all(0 <= seconds <= 30 for seconds in waits)


async def test_a_network_error_is_tried_again(api, server):
    server.side_effect = [httpx.ConnectError("no route"), replies({"positions": []})]

    assert await api.positions() == []


async def test_a_mutation_is_sent_once(api, server):
    server.mock(return_value=httpx.Response(503))

    with pytest.raises(HireflixUnavailable):
        await api.execute("mutation { x }", tries=1)

    assert server.call_count == 1


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        (
            'Variable "$c" got invalid value "Ada said \\"no\\""; Expected ID.',
            'Variable "$c" got invalid value "…"; Expected ID.',
        ),
        ('Syntax Error: found String "Ada was la', 'Syntax Error: found String "…"'),
        ("the position of 'Ada Lovelace' is archived", 'the position of "…" is archived'),
        ("Cannot query field 'skills' on type 'Query'", "Cannot query field 'skills' on type 'Query'"),
        ('"$id" of type "[String!]!"', '"$id" of type "[String!]!"'),
    ],
)
async def test_a_message_of_hireflix_keeps_names_of_graphql_and_no_other_quoted_text(api, server, message, shown):
    """It is logged, and may quote a comment about a candidate."""
    server.mock(return_value=replies(errors=[{"message": message}]))
    with pytest.raises(QueryRefused) as caught:
        await api.execute("{ a }")
    assert str(caught.value) == f"Hireflix refuses the query: {shown}"


@pytest.mark.parametrize(
    "reply",
    [
        httpx.Response(401),
        httpx.Response(403, text="<html>"),
        replies(errors=[{"message": "x", "extensions": {"code": "UNAUTHENTICATED"}}]),
        replies(errors=[{"message": "Invalid API key"}], status=400),
    ],
    ids=["401", "403", "code", "text"],
)
async def test_a_refused_key_has_its_own_error(api, server, reply):
    server.mock(return_value=reply)

    with pytest.raises(KeyRefused, match="api-keys"):
        await api.positions()


async def test_graphql_errors_are_shown_without_the_key(api, server):
    server.mock(return_value=replies(errors=[{"message": f"bad query of {KEY}\n\x1b[31m"}]))

    with pytest.raises(QueryRefused) as caught:
        await api.positions()

    assert str(caught.value) == "Hireflix refuses the query: bad query of [key] [31m"


async def test_an_answer_that_is_not_graphql_names_the_setting(api, server):
    server.mock(return_value=httpx.Response(404, text="<html>not here"))

    with pytest.raises(QueryRefused, match=r"hireflix\.api_url"):
        await api.positions()


async def test_an_error_object_in_the_data_is_an_exception():
    row = {"__typename": "PositionNotFoundError", "code": 404, "message": "no such position"}

    with pytest.raises(ActionRefused, match="no such position"):
        require_result(row)


async def test_another_type_of_a_variable_is_used_when_hireflix_asks_for_it(api, server):
    message = 'Variable "$id" of type "String!" used in position expecting type "ID!".'
    server.side_effect = [replies(errors=[{"message": message}], status=400), replies({"position": None})]

    assert await api.position("p") is None
    assert b"$id: ID!" in server.calls.last.request.content


async def test_a_query_that_cannot_be_corrected_is_not_repeated(api, server):
    server.mock(return_value=replies(errors=[{"message": 'Cannot query field "positions" on type "Query".'}]))

    with pytest.raises(QueryRefused):
        await api.positions()

    assert server.call_count <= 2


async def test_a_total_that_ignores_the_filter_counts_no_stages(api, server):
    names = ("all", "pending", "to_evaluate", "shortlisted", "discarded")
    server.mock(return_value=replies({"position": {name: {"total": 7} for name in names}}))

    found = await api.counters("p")

    assert (found.total, found.stages) == (7, None)


async def test_without_a_date_of_the_server_the_time_of_the_request_counts(api, server):
    server.mock(return_value=replies({"interview": {"id": "i"}}))

    assert await api.interview("i") == ({"id": "i"}, 1_000_000)
