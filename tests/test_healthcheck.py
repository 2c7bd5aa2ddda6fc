"""The health check of a container: whether a service on this machine answers."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from urllib.parse import urlsplit

import pytest

from connector.healthcheck import is_alive
from tests.serving import serving


class Sick(BaseHTTPRequestHandler):
    """Answers, but with an error."""

    def do_GET(self) -> None:
        self.send_error(503)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def sick_port():
    with HTTPServer(("127.0.0.1", 0), Sick) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


async def test_a_service_that_serves_is_alive(tmp_path):
    async with serving(tmp_path) as served:
        port = urlsplit(served.url).port
        assert await asyncio.to_thread(is_alive, port)
    assert not await asyncio.to_thread(is_alive, port)


def test_a_service_that_answers_with_an_error_is_not_alive(sick_port):
    assert not is_alive(sick_port)


def test_the_exit_code_says_it_and_nothing_heavy_is_imported(sick_port):
    code = f"import sys; sys.argv[1:] = ['{sick_port}']; from connector import healthcheck; healthcheck.main()"
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert "connector.healthcheck" in done.stderr
    assert not [name for name in ("typer", "sqlalchemy", "pydantic", "litestar") if f" {name}\n" in done.stderr]
