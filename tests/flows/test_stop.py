"""The end of the real process: its signals, and that no destination can delay it."""

from __future__ import annotations

import json
import resource
import signal
import socket
import threading
import time

import httpx
import pytest

from connector.emulators.google.oauth import Tokens
from tests.flows.process import Service, post
from tests.serving import sample

STOP_QUICKLY = "[delivery]\nstop_timeout = 0.5\n"
CONSOLE = '[sinks.chat]\ntype = "console"\n'


class Trickle:
    """A server that accepts every connection and sends header lines without end. No timeout of a client ends such a
    call, because bytes arrive all the time.
    """

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.asked = threading.Event()
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._accept)]

    def __enter__(self):
        self._threads[0].start()
        return self

    def __exit__(self, *_):
        self._ended.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join()

    def _accept(self):
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._threads.append(threading.Thread(target=self._trickle, args=(connection,)))
            self._threads[-1].start()

    def _trickle(self, connection):
        with connection:
            try:
                if connection.recv(65536):
                    self.asked.set()
                connection.sendall(b"HTTP/1.1 200 OK\r\n")
                while not self._ended.wait(0.1):
                    connection.sendall(b"x: y\r\n")
            except OSError:
                return


def sheet(folder, url):
    Tokens(time.time).write_account(folder / "key.json", "sheet@p.iam.gserviceaccount.com", f"{url}/token")
    settings = {"type": "google_sheets", "spreadsheet": "a" * 44, "credentials_file": "key.json", "api_url": url}
    return "[sinks.sheet]\n" + "".join(f'{name} = "{value}"\n' for name, value in settings.items())


def chat(_folder, url):
    return f'[sinks.chat]\ntype = "slack"\ntoken = "xoxb-1-2-x"\nchannel = "C0123456789"\napi_url = "{url}/api/"\n'


def stopped(service):
    return [json.loads(line)["event"] for line in service.logs if '"stopped"' in line]


def test_destinations_that_never_answer_do_not_keep_the_process_alive(tmp_path):
    """The calls, one in a thread and one in the event loop, do not end, so the process must not wait for them."""
    with Trickle() as google, Trickle() as slack:
        toml = STOP_QUICKLY + sheet(tmp_path, google.url) + chat(tmp_path, slack.url)
        with Service(tmp_path, toml) as service:
            with httpx.Client(trust_env=False) as client:
                assert post(client, service.hook, sample("finish")) == 202
            assert google.asked.wait(60)
            assert slack.asked.wait(60)
            assert service.stop() == 0
            assert stopped(service) == ["stopped"]


PLUGIN = """
import asyncio, time
from connector.sink import Sink, SinkConfig

class Blocking(Sink):
    Config = SinkConfig
    timeout = 3600
    async def deliver(self, batch, context):
        print("called", flush=True)
        await asyncio.to_thread(time.sleep, 3600)
"""


def test_a_sink_of_others_that_blocks_a_thread_does_not_keep_the_process_alive(tmp_path):
    """Python itself would wait for the thread for an hour."""
    (tmp_path / "blocking_sink.py").write_text(PLUGIN)
    info = tmp_path / "blocking_sink-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: blocking-sink\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[connector.sinks]\nblocking = blocking_sink:Blocking\n")
    toml = STOP_QUICKLY + '[sinks.slow]\ntype = "blocking"\n'
    with Service(tmp_path, toml, PYTHONPATH=str(tmp_path)) as service:
        with httpx.Client(trust_env=False) as client:
            assert post(client, service.hook, sample("finish")) == 202
        service.until(lambda: "called" in service.output)
        assert service.stop() == 0
        assert stopped(service) == ["stopped"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])  # SIGINT: tests/cli/test_process.py
def test_each_of_these_signals_stops_it_in_good_order(tmp_path, number):
    with Service(tmp_path, CONSOLE) as service:
        assert service.stop(number) == 0
        assert stopped(service) == ["stopped"]


def test_a_hangup_that_is_ignored_from_outside_stays_ignored(tmp_path):
    """`nohup connector serve &` continues after the terminal is closed."""
    with Service(tmp_path, CONSOLE, before=["nohup"]) as service:
        service.process.send_signal(signal.SIGHUP)
        assert httpx.get(f"{service.url}/health/live", trust_env=False).status_code == 200
        assert stopped(service) == []


def test_used_up_file_handles_are_warned_of_once_and_counted(tmp_path):
    """New connections are dropped then, and only the log shows why."""
    with Service(tmp_path, CONSOLE) as service:
        port = httpx.URL(service.url).port
        with httpx.Client(trust_env=False) as client:  # it has imported and opened what it needs
            assert post(client, service.hook, sample("finish")) == 202
        service.settled()
        resource.prlimit(service.process.pid, resource.RLIMIT_NOFILE, (60, 60))
        held = [socket.create_connection(("127.0.0.1", port)) for _ in range(80)]
        service.until(lambda: any("file handles exhausted" in line for line in service.logs))
        for connection in held:
            connection.close()

        def counted():
            try:
                text = httpx.get(f"{service.url}/metrics", trust_env=False).text
            except httpx.TransportError:
                return 0
            return float(text.split("\nconnector_file_handles_exhausted_total ")[1].split()[0])

        service.until(counted)
        lines = [json.loads(line) for line in service.logs if "file handles exhausted" in line]
        assert [(line["level"], line["limit"]) for line in lines] == [("warning", 60)]
