"""`send`: the request, its address, and what it prints about the response."""

import json
import socket

import pytest
from aiohttp import web

from connector.emulators.server import EmulatorServer
from connector.hireflix import samples
from connector.hireflix.payload import read
from connector.hireflix.signature import Verifier
from connector.interview import Stage
from connector.merge import interview_of, merge

SECRET = Verifier(["hush-hush"])


class Receiver(EmulatorServer):
    """Answers as configured and records the requests."""

    def __init__(self):
        super().__init__()
        self.status, self.text = 202, '{"status":"accepted","event_id":"7"}'
        self.got = []

    def build(self, app):
        app.router.add_post("/{path:.*}", self._post)

    async def _post(self, request):
        self.got.append((request.path, dict(request.headers), await request.read()))
        return web.Response(status=self.status, text=self.text, content_type="application/json")


@pytest.fixture
def receiver():
    with Receiver() as running:
        yield running


def sent(receiver):
    [(path, headers, body)] = receiver.got
    return path, headers, body


def test_a_file_goes_byte_for_byte_and_signed(run, receiver, tmp_path):
    """Not even odd white space changes: the signature is on the bytes."""
    raw = b'{ "event":"interview.finish" ,\n"data":{"id":"Zo\xc3\xab"}}'
    (tmp_path / "body.json").write_bytes(raw)
    result = run("send", str(tmp_path / "body.json"), "--url", receiver.url)
    path, headers, body = sent(receiver)
    assert (result.exit_code, path, body) == (0, "/webhooks/hireflix", raw)
    assert SECRET.accepts(body, headers["x-hireflix-signature"].encode())
    assert result.stdout == '202 {"status":"accepted","event_id":"7"}\n'


def test_standard_input_is_a_file_too(run, receiver):
    assert run("send", "-", "--url", receiver.url, stdin=b"\xff\x00").exit_code == 0
    assert sent(receiver)[2] == b"\xff\x00"


def test_a_sample_happens_now(run, receiver):
    run("send", "--sample", "interview.finish", "--url", receiver.url)
    was = json.loads(samples.sample("interview.finish"))
    now = json.loads(sent(receiver)[2])
    assert now["date"] > was["date"] + 86_400_000
    assert now["data"] == was["data"]


def test_a_sample_can_keep_its_date(run, receiver):
    run("send", "--sample", "interview.finish", "--as-is", "--url", receiver.url)
    assert sent(receiver)[2] == samples.sample("interview.finish")


def test_the_address_comes_from_the_configuration(run, receiver, config):
    """Host, port and path of the service that runs with the same file."""
    host, port = receiver.url.removeprefix("http://").split(":")
    extra = f'[server]\nhost = "{host}"\nport = {port}\n'
    config.write_text(config.read_text().replace("[hireflix]", '[hireflix]\nwebhook_path = "/in"') + extra)
    assert run("send", "--sample", "interview.finish").exit_code == 0
    assert sent(receiver)[0] == "/in"


def test_an_address_with_a_path_is_taken_as_it_is(run, receiver):
    run("send", "--sample", "interview.finish", "--url", f"{receiver.url}/elsewhere")
    assert sent(receiver)[0] == "/elsewhere"


def test_without_a_secret_an_open_service_gets_it_unsigned(run, receiver, config):
    config.write_text(config.read_text().replace('webhook_secrets = ["hush-hush"]', "allow_unsigned = true"))
    assert run("send", "--sample", "interview.finish", "--url", receiver.url).exit_code == 0
    assert "x-hireflix-signature" not in {name.lower() for name in sent(receiver)[1]}


@pytest.mark.parametrize(
    ("status", "code", "advice"),
    [(200, 0, ""), (401, 1, "another secret"), (404, 1, "another path"), (413, 1, "1 MiB"), (500, 1, ""),
     (503, 1, "try again")],
)  # fmt: skip
def test_only_a_2xx_is_success_and_the_rest_is_explained(run, receiver, status, code, advice):
    receiver.status = status
    result = run("send", "--sample", "interview.finish", "--url", receiver.url)
    assert result.exit_code == code
    assert result.stdout.startswith(f"{status} ")
    assert advice in result.stderr


def test_an_answer_cannot_act_on_the_terminal(run, receiver):
    receiver.text = "\x1b[2J" + "x" * 5000
    shown = run("send", "--sample", "interview.finish", "--url", receiver.url).stdout
    assert "\x1b" not in shown
    assert len(shown) < 600


def test_a_port_without_a_service_is_reported(run):
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        result = run("send", "--sample", "interview.finish", "--url", f"http://127.0.0.1:{bound.getsockname()[1]}")
    assert result.exit_code == 1
    assert "is `connector serve` running?" in result.stderr


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/", "127.0.0.1:8000", "http://", "nonsense"])
def test_an_invalid_address_is_bad_usage(run, url):
    result = run("send", "--sample", "interview.finish", "--url", url)
    assert result.exit_code == 2
    assert "--url must be an address" in result.stderr


def test_a_service_on_any_port_must_be_named(run, config):
    config.write_text(config.read_text() + "[server]\nport = 0\n")
    result = run("send", "--sample", "interview.finish")
    assert result.exit_code == 2
    assert "--url" in result.stderr


def test_the_embedded_default_has_no_secret_before_its_first_start(tmp_path, monkeypatch):
    from typer.testing import CliRunner

    from connector.cli import app

    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["send", "--sample", "interview.finish"])
    assert result.exit_code == 2
    assert "run `connector serve` once" in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("host", ["0.0.0.0", "::", ""])
def test_a_service_on_every_address_is_reached_on_this_machine(host, config):
    from connector.config import load
    from connector.operations.send import receiver_url

    config.write_text(config.read_text() + f'[server]\nhost = "{host}"\n')
    assert receiver_url(load(config, {}, config.parent)) in {
        "http://127.0.0.1:8000/webhooks/hireflix",
        "http://[::1]:8000/webhooks/hireflix",
    }


def test_a_journey_is_the_whole_life_of_one_new_interview(run, receiver):
    result = run("send", "--sample", "journey", "--pause", "0", "--url", receiver.url)
    assert result.exit_code == 0
    bodies = [json.loads(body) for _, _, body in receiver.got]
    assert [body["event"] for body in bodies] == [
        "interview.create",
        "interview.finish",
        "interview.score-updated",
        "interview.status-change",
    ]
    [interview] = {body["data"]["id"] for body in bodies}
    assert f"connector erase {interview}" in result.stderr
    assert {body["data"]["url"]["private"].rsplit("/", 1)[1] for body in bodies} == {interview}
    assert [stage_after(bodies[: count + 1]) for count in range(4)] == [
        Stage.PENDING,
        Stage.TO_EVALUATE,
        Stage.TO_EVALUATE,
        Stage.SHORTLISTED,
    ]


def stage_after(bodies):
    """The stage of the interview after these webhooks, by the rules of the connector."""
    state = None
    for body in bodies:
        state = merge(state, read(json.dumps(body).encode(), body["date"]))
    return interview_of("sample", state).stage


def test_a_journey_can_be_erased_at_its_end(run, receiver, world):
    result = run("send", "--sample", "journey", "--pause", "0", "--remove", "--url", receiver.url)
    assert result.exit_code == 0, result.output
    assert len(receiver.got) == 4
    assert result.stdout.endswith("is erased\n")


def test_a_journey_stops_at_the_first_refusal(run, receiver):
    receiver.status = 401
    result = run("send", "--sample", "journey", "--pause", "0", "--url", receiver.url)
    assert (result.exit_code, len(receiver.got)) == (1, 1)


def test_only_a_journey_can_be_removed(run, receiver):
    result = run("send", "--sample", "interview.finish", "--remove", "--url", receiver.url)
    assert result.exit_code == 2
    assert receiver.got == []
