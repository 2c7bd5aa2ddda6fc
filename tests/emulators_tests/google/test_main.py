"""The emulator by hand, as a process of its own."""

import json
import signal
import subprocess
import sys

import httpx


def test_it_prints_where_everything_is_and_serves_until_ctrl_c(tmp_path):
    command = [sys.executable, "-m", "tests.emulators.google", str(tmp_path / "keys")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        shown = dict(process.stdout.readline().rstrip("\n").split(" = ") for _ in range(5))
        told = {name.strip(): value for name, value in shown.items()}
        assert httpx.get(told["look"]).status_code == 200
        account = json.loads((tmp_path / "keys" / "service-account.json").read_text())
        assert account["token_uri"] == told["api_url"] + "/token"
        assert account["client_email"] == told["client_email"]
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
