"""Limits on the bytes, connections and answers that an unauthenticated client can use of a real process."""

from __future__ import annotations

import json
import re
import resource
import select
import socket
import threading
import time
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from connector.hireflix.signature import sign
from connector.web.receiver import BODY_BYTES, CLIENT_BYTES
from tests.flows.process import SECRET, Service, post
from tests.serving import sample

TOML = '[sinks.chat]\ntype = "console"\n'
PATH = b"/webhooks/hireflix"
MEGABYTE = 1_000_000
GREW_MOST = 30 * MEGABYTE
"""Most growth of a process under attack; without limits it grew by 500 MB and more."""
PATIENCE = 60


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    with Service(tmp_path_factory.mktemp("strangers"), TOML, CONNECTOR_SERVER__TRUSTED_PROXIES='["127.0.0.1"]') as one:
        with httpx.Client(trust_env=False) as client:
            assert post(client, one.hook, sample("finish")) == 202
        one.settled()
        yield one


@contextmanager
def connected(service, *, source="127.0.0.1", receive_bytes=None):
    with socket.socket() as connection:
        if receive_bytes is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        connection.bind((source, 0))
        connection.settimeout(PATIENCE)
        connection.connect(("127.0.0.1", httpx.URL(service.url).port))
        yield connection


def unsent(connection):
    """Bytes in the send queue of the server, which the client does not read (Linux, proc(5), /proc/net/tcp)."""
    ports = f"{connection.getpeername()[1]:04X}", f"{connection.getsockname()[1]:04X}"
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, remote, _, queues, *_ = line.split()
        if (local.rpartition(":")[2], remote.rpartition(":")[2]) == ports:
            return int(queues.partition(":")[0], 16)
    return 0


def is_stuck(connection):
    """Whether the server waits for the client to read, and sends nothing more."""
    before = unsent(connection)
    threading.Event().wait(0.3)
    return before > 100_000 and unsent(connection) == before


def resident(service):
    """Resident bytes of the process (Linux, proc(5))."""
    return int(Path(f"/proc/{service.process.pid}/statm").read_text().split()[1]) * resource.getpagesize()


def pushed(connection, piece, most):
    """Sends a piece repeatedly, up to a number of bytes, until the server refuses or stops reading."""
    sent = 0
    with suppress(OSError):
        connection.settimeout(1)
        while sent < most:
            connection.sendall(piece)
            sent += len(piece)
    connection.settimeout(PATIENCE)
    return sent


def everything(connection):
    """Returns what the server sent until it closed or reset the connection."""
    received = b""
    with suppress(ConnectionResetError):
        while part := connection.recv(65536):
            received += part
    return received


def signed(body, *headers, path=PATH):
    lines = [b"POST %b HTTP/1.1" % path, b"host: x", b"content-length: %d" % len(body), *headers]
    lines.append(b"x-hireflix-signature: " + sign(SECRET, body).encode())
    return b"\r\n".join([*lines, b"", b""]) + body


def webhook(number):
    return json.dumps(sample("finish", id=f"i{number}")).encode()


def head(*headers):
    return b"\r\n".join([b"POST %b HTTP/1.1" % PATH, b"host: x", b"x-hireflix-signature: y", *headers, b"", b""])


def answered(connection):
    """The status line of the next answer, which is read with its body."""
    received = b""
    while not is_whole(received):
        part = connection.recv(65536)
        assert part, "the connection was closed without an answer"
        received += part
    return received.split(b"\r\n")[0]


def is_whole(received):
    head, end, body = received.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)content-length: (\d+)", head)
    return bool(end) and len(body) >= (int(length[1]) if length else 0)


def is_served(service):
    number = time.monotonic_ns()
    with httpx.Client(trust_env=False) as client:
        return post(client, service.hook, sample("finish", id=f"i{number}")) == 202


def test_endless_trailers_of_a_chunked_body_end_the_connection(service):
    before = resident(service)
    with connected(service) as stranger:
        stranger.sendall(head(b"transfer-encoding: chunked") + b"0\r\n")
        assert pushed(stranger, b"x: " + b"y" * 60_000 + b"\r\n", 64 * MEGABYTE) < 64 * MEGABYTE
        assert b"202" not in everything(stranger)
    assert resident(service) - before < GREW_MOST
    assert is_served(service)


def test_requests_whose_answers_are_not_read_are_not_read_either(service):
    """20 connections send as many requests as the server reads."""
    before = resident(service)
    with ExitStack() as stack:
        strangers = [stack.enter_context(connected(service)) for _ in range(20)]
        threads = [
            threading.Thread(target=pushed, args=(each, b"GET / HTTP/1.1\r\nhost: x\r\n\r\n" * 1000, 64 * MEGABYTE))
            for each in strangers
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert is_served(service)
        assert resident(service) - before < GREW_MOST


def test_a_blank_line_after_a_request_does_not_hold_the_connection(service):
    with connected(service) as stranger:
        stranger.sendall(b"GET /health/live HTTP/1.1\r\nhost: x\r\n\r\n")
        assert answered(stranger) == b"HTTP/1.1 200 OK"
        stranger.sendall(b"\r\n")
        assert b"HTTP/1.1 400 " in everything(stranger)


def test_endless_request_heads_are_refused(service):
    before = resident(service)
    with ExitStack() as stack:
        strangers = [stack.enter_context(connected(service)) for _ in range(200)]
        for stranger in strangers:
            pushed(stranger, b"GET / HTTP/1.1\r\nx: " + b"y" * 120_000, 1)
        answers = {everything(stranger)[:13] for stranger in strangers}
        assert answers <= {b"HTTP/1.1 400 ", b""}  # a reset may overtake the answer
        assert resident(service) - before < GREW_MOST
    assert is_served(service)


def test_a_client_that_offers_http_2_is_answered_in_http_1(service):
    """As `curl --http2` does (RFC 7540, section 3.2)."""
    upgrade = [b"connection: Upgrade, HTTP2-Settings", b"upgrade: h2c", b"http2-settings: AAMAAABkAAQAAP__"]
    with connected(service) as client:
        client.sendall(signed(webhook(1), *upgrade))
        assert answered(client) == b"HTTP/1.1 202 Accepted"
        client.sendall(signed(webhook(2)))
        assert answered(client) == b"HTTP/1.1 202 Accepted"


@pytest.mark.parametrize("cut", [1, 40, 200, -40, -1])
def test_a_webhook_in_two_pieces_is_answered_like_a_whole_one(service, cut):
    whole = signed(webhook(f"two{cut}"))
    with connected(service) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.sendall(whole[:cut])
        assert is_served(service)  # the first piece has been read by then
        client.sendall(whole[cut:])
        assert answered(client) == b"HTTP/1.1 202 Accepted"


def test_pipelined_webhooks_are_answered_in_order(service):
    body = webhook("order")
    with connected(service) as client:
        client.sendall(signed(body) + signed(body) + signed(b"{", b"connection: close"))
        bodies = [part.rpartition(b"\r\n")[2] for part in everything(client).split(b"HTTP/1.1 ")[1:]]
    assert [json.loads(each)["status"] for each in bodies] == ["accepted", "duplicate", "accepted"]


def test_a_sender_that_expects_100_continue_gets_it(service):
    """RFC 9110, section 10.1.1."""
    with connected(service) as client:
        request_head, _, body = signed(webhook("go"), b"expect: 100-continue").partition(b"\r\n\r\n")
        client.sendall(request_head + b"\r\n\r\n")
        assert answered(client) == b"HTTP/1.1 100 Continue"
        client.sendall(body)
        assert answered(client) == b"HTTP/1.1 202 Accepted"


@pytest.mark.parametrize(("version", "headers"), [(b"1.1", [b"connection: close"]), (b"1.0", [])])
def test_a_connection_that_the_client_does_not_keep_is_closed_after_the_answer(service, version, headers):
    with connected(service) as client:
        client.sendall(signed(webhook(f"end{version}"), *headers).replace(b"HTTP/1.1", b"HTTP/" + version, 1))
        received = everything(client)
    assert received.startswith(b"HTTP/1.1 202 ")
    assert received.count(b"HTTP/1.1 ") == 1


@pytest.mark.parametrize("path", [PATH + b"?x=1", PATH + b"/", b"/webhooks/%68ireflix"])
def test_other_spellings_of_the_path_are_the_same_path(service, path):
    with connected(service) as client:
        client.sendall(signed(webhook(path.decode()), path=path))
        assert answered(client) == b"HTTP/1.1 202 Accepted"


def test_a_sender_that_disconnects_does_not_affect_others(service):
    with connected(service) as client:
        client.sendall(signed(webhook("gone")))
    assert is_served(service)


@pytest.mark.parametrize(
    ("greedy", "honest"),
    [
        ({}, {"source": "127.0.0.2"}),
        ({"forwarded": "203.0.113.9"}, {"forwarded": "198.51.100.7"}),
        ({"forwarded": "198.51.100.7, 203.0.113.9"}, {"forwarded": "203.0.113.9, 198.51.100.7"}),
    ],
    ids=["by its address", "behind a proxy", "who names another"],
)
def test_incomplete_bodies_of_one_client_do_not_refuse_those_of_another(service, greedy, honest):
    """The client behind a trusted proxy is the last address that the proxy added."""

    def opened(stack, *, source="127.0.0.1", forwarded=None):
        connection = stack.enter_context(connected(service, source=source))
        return connection, [b"x-forwarded-for: " + forwarded.encode()] if forwarded else []

    with ExitStack() as stack:
        strangers = []
        for _ in range(CLIENT_BYTES // BODY_BYTES + 2):
            stranger, more = opened(stack, **greedy)
            stranger.sendall(head(b"content-length: %d" % BODY_BYTES, *more))
            with suppress(OSError):
                stranger.sendall(b"x" * (BODY_BYTES - 1))
            strangers.append(stranger)
        refused, _, _ = select.select(strangers, [], [], PATIENCE)
        assert answered(refused[0]) == b"HTTP/1.1 503 Service Unavailable"
        client, more = opened(stack, **honest)
        whole = signed(webhook(f"honest{greedy}"), *more)
        client.sendall(whole[:-5])
        assert is_served(service)
        client.sendall(whole[-5:])
        assert answered(client) == b"HTTP/1.1 202 Accepted"


def test_a_stop_ends_a_stalled_body_and_does_not_wait_for_an_unread_answer(tmp_path):
    with (
        Service(tmp_path, TOML + "[delivery]\nstop_timeout = 2\n") as service,
        connected(service) as stalled,
        connected(service, receive_bytes=4096) as unread,
    ):
        unread.sendall(b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n" * 2000)
        service.until(lambda: is_stuck(unread))
        stalled.sendall(head(b"content-length: 10") + b"{")
        assert is_served(service)
        assert service.stop() == 0
        answer = everything(stalled).lower()
    assert answer.startswith(b"http/1.1 408 ")
    assert b"\r\nconnection: close\r\n" in answer
    assert b"\r\nretry-after: " in answer
    assert any('"stopped"' in line for line in service.logs)


def test_a_stop_ends_a_stalled_form_of_the_dashboard(tmp_path):
    """At once, with an answer and without an error in the log."""
    with Service(tmp_path, TOML) as service, connected(service) as stalled:
        form = b"sec-fetch-site: same-origin\r\ncontent-type: application/x-www-form-urlencoded"
        stalled.sendall(b"POST /sign-in HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n" + form + b"\r\n\r\np")
        assert is_served(service)
        assert service.stop() == 0
        answer = everything(stalled).lower()
    assert answer.startswith(b"http/1.1 408 ")
    assert b"\r\nconnection: close\r\n" in answer
    assert not any('"error"' in line for line in service.logs)
