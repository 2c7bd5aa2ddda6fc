"""The real program: its output at the start, its work with the other commands, and its end."""

import json
import os
import re
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import pytest
from tenacity import Retrying, retry_if_result, stop_after_delay, wait_fixed

from connector.store.schema import DeliveryState
from tests import forked
from tests.flows.process import Service

CONNECTOR = [sys.executable, "-m", "connector.cli"]
ENVIRON = {name: value for name, value in os.environ.items() if not name.startswith("CONNECTOR_")}
TOML = """
[sinks.sheet]
type = "workbook"
path = "sheet.xlsx"

[sinks.chat]
type = "console"
"""


def call(*words, cwd, **environ):
    """Runs a command to its end."""
    return forked.run("connector.cli", *words, environ={**ENVIRON, **environ}, folder=cwd)


@contextmanager
def started(folder, *words, module="connector.cli", **environ):
    """A running command and its standard output. It is interrupted at the end, if it has not ended."""
    read, write = os.pipe()
    with os.fdopen(read) as output, (folder / "stderr").open("w") as errors:
        process = forked.start(
            module, *words, environ={**ENVIRON, **environ}, folder=folder, stdout=write, stderr=errors.fileno()
        )
        os.close(write)
        yield process, output
        process.send_signal(signal.SIGINT)
        output.read()
        process.wait(60)


def shows(url, pattern):
    """Whether a page has a text within a minute."""
    retrying = Retrying(stop=stop_after_delay(60), wait=wait_fixed(0.2), retry=retry_if_result(lambda found: not found))
    retrying.retry_error_callback = lambda _: None
    return retrying(lambda: re.search(pattern, httpx.get(url).text)) is not None


def status(service):
    return json.loads(call("status", "--json", "--config", str(service.config), cwd=service.folder).stdout)


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    """One service for all tests of this module that leave it running."""
    with Service(tmp_path_factory.mktemp("service"), TOML) as running:
        running.until(lambda: any("Try it" in line for line in running.output))
        yield running


def test_it_prints_where_everything_is(service):
    said = "\n".join(service.output)
    assert f"Receiver  {service.hook}" in said
    assert "Secret    from the configuration (1)" in said
    assert f"sheet (workbook): {service.folder / 'sheet.xlsx'}" in said
    assert "chat (console): stdout" in said
    assert "hfx_test_secret" not in said


def test_what_is_wrong_with_a_sink_is_printed_under_the_banner(tmp_path):
    """As `connector check` prints it; the service runs and delivers to the other sinks."""
    sheet = (
        '[sinks.board]\ntype = "google_sheets"\nspreadsheet = "1AbCdEfGhIjKlMnOpQrSt"\ncredentials_file = "key.json"\n'
    )
    with Service(tmp_path, TOML + sheet) as running:
        running.until(lambda: any("problem   sinks.board" in line for line in running.output))
    said = "\n".join(running.output)
    assert "problem   sinks.board: the file key.json cannot be read (No such file or directory)\n          → " in said
    assert said.index("Try it") < said.index("problem   sinks.board")
    assert "sinks.chat" not in said


def test_the_command_it_prints_works_as_it_is(service):
    """A user who pastes it sees a message, and a row in the workbook."""
    line = next(line for line in service.output if line.strip().startswith("Try it"))
    done = subprocess.run(
        line.split("Try it", 1)[1], shell=True, env=ENVIRON, cwd="/", capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("202 ")
    service.settled()
    assert (service.folder / "sheet.xlsx").exists()
    assert any("Wayne Knight finished the interview" in line for line in service.output)
    assert {sink["state"] for sink in status(service)["sinks"]} == {"ok"}


def test_a_pause_holds_and_a_resume_releases_a_running_service(service):
    """It reads both from its store."""
    here = {"cwd": service.folder}
    config = ("--config", str(service.config))
    assert call("pause", "chat", *config, **here).returncode == 0
    sent = call("send", "--sample", "interview.create", "--url", service.url, *config, **here)
    assert sent.returncode == 0
    service.until(lambda: [sink["pending"] for sink in status(service)["sinks"] if sink["name"] == "sheet"] == [0])
    chat = next(sink for sink in status(service)["sinks"] if sink["name"] == "chat")
    assert (chat["state"], chat["pending"]) == ("paused", 1)
    assert call("resume", "chat", *config, **here).returncode == 0
    service.settled()
    assert next(sink for sink in status(service)["sinks"] if sink["name"] == "chat")["state"] == "ok"


def test_a_replay_reaches_a_running_service(service):
    config = ("--config", str(service.config))
    call("send", "--sample", "interview.score-updated", "--url", service.url, *config, cwd=service.folder)
    service.settled()
    settled, delivered = (
        "SELECT 1 FROM delivery WHERE sink = 'chat' AND state IN (1, 2)",
        "SELECT 1 FROM delivery WHERE sink = 'chat' AND state = 1",
    )
    before, replayed = len(service.query(settled)), len(service.query(delivered))
    done = call("replay", "--state", "delivered", "--sink", "chat", "--yes", *config, cwd=service.folder)
    assert done.returncode == 0, done.stderr
    service.settled()
    assert replayed > 0
    assert len(service.query(settled)) == before + replayed


def test_a_second_service_on_the_same_store_is_refused(service):
    done = call("serve", "--config", str(service.config), cwd=service.folder)
    assert done.returncode == 2
    assert f"another connector serves {service.store} already" in done.stderr
    assert "Traceback" not in done.stderr


def test_ctrl_c_ends_it_quietly_and_an_open_receiver_was_warned_of_in_the_log(tmp_path):
    """JSON logs contain only JSON lines."""
    with Service(tmp_path, TOML, CONNECTOR_HIREFLIX__ALLOW_UNSIGNED="true") as running:
        running.process.send_signal(signal.SIGINT)
        assert running.process.wait(60) == 0
        running._close()
    assert not [line for line in running.logs if "Traceback" in line or "KeyboardInterrupt" in line]
    lines = [json.loads(line) for line in running.logs]
    assert [line["event"] for line in lines].count("stopped") == 1
    assert [line["level"] for line in lines if line.get("place") == "hireflix.allow_unsigned"] == ["warning"]


@pytest.mark.parametrize("role", ["receiver", "worker"])
def test_a_part_of_a_service_needs_a_store_that_can_be_shared(tmp_path, role):
    done = call("serve", "--role", role, cwd=tmp_path)
    assert done.returncode == 2
    assert "with a SQLite store one process does everything" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_port_in_use_is_reported(service, tmp_path):
    done = call("serve", cwd=tmp_path, CONNECTOR_SERVER__PORT=service.url.rsplit(":", 1)[1])
    assert done.returncode == 2
    assert "another program uses the port; stop it, or set another [server] port" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "data" / "connector.db").exists()


def test_the_embedded_default_makes_a_secret_and_names_its_file(tmp_path):
    """The output is not a terminal. Other commands read the secret from the file."""
    first = embedded(tmp_path)
    secret = (tmp_path / "data" / "webhook-secret").read_text().strip()
    assert secret not in first
    second = embedded(tmp_path)
    assert secret not in second
    for said in (first, second):
        assert f"stored in {tmp_path / 'data' / 'webhook-secret'}" in said
    modes = {
        path.name: stat.S_IMODE(path.stat().st_mode) for path in [tmp_path / "data", *(tmp_path / "data").iterdir()]
    }
    assert modes.pop("data") == 0o700
    assert "interviews.xlsx" in modes
    assert set(modes.values()) == {0o600}


def embedded(folder):
    """Starts the embedded default, sends a sample without options, and stops it. Returns its output."""
    process = subprocess.Popen(
        [*CONNECTOR, "serve"],
        cwd=folder,
        env={**ENVIRON, "CONNECTOR_SERVER__PORT": "0"},
        stdout=subprocess.PIPE,
        text=True,
    )
    lines = []
    for line in process.stdout:
        lines.append(line)
        if "Try it" in line:
            break
    url = next(line.split()[1] for line in lines if "Receiver" in line)
    sent = call("send", "--sample", "interview.finish", "--url", url, cwd=folder)
    process.send_signal(signal.SIGTERM)
    lines += process.stdout.readlines()
    process.stdout.close()
    assert process.wait(60) == 0
    assert sent.stdout.startswith("202 ")
    return "".join(lines)


def test_a_demo_delivers_everything_and_can_be_looked_at(tmp_path):
    words = ("demo", "--folder", "demo", "--events", "30", "--rate", "200", "--once")
    environ = {**ENVIRON, "QUICK_SINCE_MS": str(time.time_ns() // 1_000_000)}  # a digest waits for 25 seconds
    done = forked.run("tests.flows.quick_clock", *words, environ=environ, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "All deliveries are done: " in done.stdout
    assert ", 0 refused." in done.stdout
    assert (tmp_path / "demo" / "data" / "interviews.xlsx").exists()
    found = json.loads(call("status", "--json", "--config", "demo/demo.toml", cwd=tmp_path).stdout)
    sinks = {sink["name"]: sink["state"] for sink in found["sinks"]}
    assert sinks == dict.fromkeys(["console", "sheet", "slack", "workbook"], "stopped")
    with closing(sqlite3.connect(tmp_path / "demo" / "data" / "connector.db")) as store:
        # the comparison with the emulated Hireflix may store an event of its own while the service stops
        sent = "SELECT state, count(*) FROM delivery JOIN event ON seq = event_seq WHERE mark = '' GROUP BY state"
        by_state = dict(store.execute(sent).fetchall())
    assert by_state.keys() <= {DeliveryState.DELIVERED, DeliveryState.SUPERSEDED}
    assert by_state[DeliveryState.DELIVERED] > 30
    assert found["source"]["interviews"] > 5


def test_ctrl_c_ends_a_demo_in_the_middle_quietly(tmp_path):
    with started(tmp_path, "demo", "--folder", "demo", "--rate", "50") as (running, output):
        next(line for line in output if "was invited · " in line)
        running.send_signal(signal.SIGINT)
        output.read()
        assert running.wait(60) == 0
    assert (tmp_path / "stderr").read_text() == ""


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """What a running demo printed until all deliveries were done, by the first word of the line. Its clock is quick."""
    folder = tmp_path_factory.mktemp("demo")
    words = ("demo", "--folder", "demo", "--events", "30", "--rate", "200")
    since = str(time.time_ns() // 1_000_000)
    with started(folder, *words, module="tests.flows.quick_clock", QUICK_SINCE_MS=since) as (_, output):
        said = {}
        for line in output:
            title = next((each for each in ("Hireflix", "Sheet", "Slack", "Try it", "Next:") if each in line[:10]), "")
            said |= {title: line.split(title, 1)[1].strip()} if title else {}
            if title == "Next:":
                break
        yield said


def test_a_decision_in_the_channel_of_a_demo_reaches_hireflix_and_the_sheet(demo):
    channel = httpx.get(demo["Slack"]).text
    message, id_ = re.search(r"id=m([\d.]+)>(?:(?!</article>).)*decide-discard.*?/interview/(\w+)", channel).groups()

    def sent(page, is_done, **form):
        """Sends a form again until it leads on: a click that is not acknowledged in time has no effect."""
        is_ignored = retry_if_result(lambda place: not is_done(place))
        again = Retrying(stop=stop_after_delay(60), wait=wait_fixed(0.2), retry=is_ignored)
        return again(lambda: httpx.post(page, data=form, timeout=30).headers["location"])

    place = sent(demo["Slack"], lambda place: "/dialog/" in place, message=message, action="decide-discard")
    dialog = httpx.URL(demo["Slack"]).join(place)
    sent(dialog, lambda place: "/dialog/" not in place, reason="No permit")
    assert shows(demo["Hireflix"], f"discarded(?:(?!</tr>).)*No permit(?:(?!</tr>).)*{id_}")
    assert shows(demo["Sheet"], f"Discarded(?:(?!</tr>).)*{id_}")
    assert shows(demo["Slack"], "Discarded by @you")


def test_a_choice_in_the_sheet_of_a_demo_reaches_hireflix_and_the_channel(demo):
    assert shows(demo["Sheet"], 'class="cell choose"')
    rows = httpx.get(demo["Sheet"]).text.split("<tr>")
    row = next(each for each in rows if ">To evaluate<" in each and 'class="cell choose"' in each)
    id_ = re.search(r">([0-9a-f]{24})<", row)[1]
    cell = httpx.URL(demo["Sheet"]).join(re.search(r'class="cell choose"[^>]* href="([^"]+)"', row)[1])
    assert ">Advance</option>" in httpx.get(cell).text
    assert httpx.post(cell, data={"value": "Advance"}).status_code == 303
    assert shows(demo["Sheet"], f">Shortlisted<(?:(?!</tr>).)*{id_}(?:(?!</tr>).)*Decided in the sheet")
    assert shows(demo["Hireflix"], f"shortlisted(?:(?!</tr>).)*{id_}")
    assert shows(demo["Slack"], f"was shortlisted(?:(?!</article>).)*/interview/{id_}")


def test_the_commands_that_a_demo_prints_work_as_they_are(demo):
    """From any folder, while it runs."""
    for title, answer in {"Try it": "202 ", "Next:": "Service: running"}.items():
        pasted = subprocess.run(
            demo[title], shell=True, cwd="/", env=ENVIRON, capture_output=True, text=True, check=False
        )
        assert pasted.stdout.startswith(answer), pasted.stderr


def test_a_demo_does_not_touch_a_folder_that_is_configured(tmp_path):
    (tmp_path / "config.toml").write_text(TOML)
    done = call("demo", "--folder", str(tmp_path), "--once", cwd=tmp_path)
    assert done.returncode == 2
    assert "name a folder without one" in done.stderr
    assert [entry.name for entry in tmp_path.iterdir()] == ["config.toml"]


def test_a_closed_pipe_is_no_traceback(service):
    """`connector events | head -1` ends like any other program."""
    command = f"{' '.join(CONNECTOR)} events --json --config {service.config} | true"
    done = subprocess.run(
        command, shell=True, cwd=service.folder, env=ENVIRON, capture_output=True, text=True, check=False
    )
    assert "Traceback" not in done.stderr
    assert done.returncode == 0


def test_output_that_a_full_disk_refuses_is_one_line_and_a_failure(tmp_path):
    with Path("/dev/full").open("w") as full, (tmp_path / "stderr").open("w") as errors:
        process = forked.start(
            "connector.cli",
            "config",
            environ=ENVIRON,
            folder=tmp_path,
            stdout=full.fileno(),
            stderr=errors.fileno(),
        )
        assert process.wait(60) == 1
    assert (tmp_path / "stderr").read_text() == "error: no space left on device; make room on that disk\n"
