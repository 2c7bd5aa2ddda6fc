"""What `connector send` and `connector demo` post, and how they handle a response."""

import httpx
import pytest

from connector.errors import ConnectorError
from connector.hireflix.signature import sign
from connector.operations.send import feed, post

URL = "http://127.0.0.1:8000/webhooks/hireflix"
BODY = b'{"event":"interview.finish"}'


def test_a_body_is_posted_once_as_it_is_with_its_signature(respx_mock):
    route = respx_mock.post(URL).mock(return_value=httpx.Response(202))
    assert post(URL, BODY, "secret").status_code == 202
    [call] = route.calls
    assert call.request.content == BODY
    assert call.request.headers["x-hireflix-signature"] == sign("secret", BODY)


def test_without_a_secret_nothing_is_signed(respx_mock):
    route = respx_mock.post(URL).mock(return_value=httpx.Response(202))
    post(URL, BODY, None)
    assert "x-hireflix-signature" not in route.calls[0].request.headers


@pytest.mark.parametrize("status", [401, 413, 503])
def test_a_refusal_is_returned_and_not_repeated(respx_mock, status):
    route = respx_mock.post(URL).mock(return_value=httpx.Response(status))
    assert post(URL, BODY, "secret").status_code == status
    assert route.call_count == 1


def test_a_service_that_does_not_run_is_named(respx_mock):
    respx_mock.post(URL).mock(side_effect=httpx.ConnectError("no"))
    with pytest.raises(ConnectorError, match="connector serve"):
        post(URL, BODY, "secret")


@pytest.mark.parametrize("error", [httpx.ReadTimeout, httpx.RemoteProtocolError])
def test_a_lost_answer_is_an_error_without_the_text_of_the_library(respx_mock, error):
    respx_mock.post(URL).mock(side_effect=error("internal detail"))
    with pytest.raises(ConnectorError) as caught:
        post(URL, BODY, "secret")
    assert "internal detail" not in str(caught.value)


async def test_the_demo_posts_signed_webhooks_and_counts_the_responses(respx_mock):
    responses = [httpx.Response(202, json={"status": status}) for status in ("accepted", "duplicate", "accepted")]
    route = respx_mock.post(URL).mock(side_effect=[*responses, httpx.Response(503)])
    assert await feed(URL, "secret", events=4, rate=1000) == {"accepted": 2, "duplicate": 1, "refused": 1}
    for call in route.calls:
        assert call.request.headers["x-hireflix-signature"] == sign("secret", call.request.content)


async def test_the_demo_ends_when_the_service_stops(respx_mock):
    respx_mock.post(URL).mock(side_effect=[httpx.Response(202, json={"status": "accepted"}), httpx.ConnectError("no")])
    with pytest.raises(httpx.TransportError):
        await feed(URL, "secret", events=3, rate=1000)
