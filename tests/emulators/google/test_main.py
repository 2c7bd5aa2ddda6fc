"""The emulator by hand, as a process of its own."""

import signal
import subprocess
import sys

import httpx

from connector.config import load

COMMAND = [sys.executable, "-m", "connector.emulators.google"]


def test_what_it_prints_is_a_configuration_that_works(tmp_path):
    """Pasted as it is; the sheet can be looked at, and Ctrl-C ends it."""
    with subprocess.Popen([*COMMAND, str(tmp_path / "keys")], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        printed = []
        for line in process.stdout:
            printed.append(line)
            if line.startswith("Ctrl-C"):
                break
        _, section, page = "".join(printed).split("\n\n")
        (tmp_path / "config.toml").write_text(section)
        environ = {"CONNECTOR_HIREFLIX__WEBHOOK_SECRETS": '["try"]'}
        [entry] = load(environ=environ, cwd=tmp_path).sinks.values()
        assert entry.cls(entry.name, entry.config).validate() == []
        assert httpx.get(entry.config.api_url).status_code == 404
        assert httpx.get(page.splitlines()[0].rpartition(" ")[2]).status_code == 200
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0


def test_without_what_tests_need_it_says_what_installs_it(tmp_path):
    code = "import runpy, sys; sys.modules['googleapiclient'] = None; runpy.run_module(%r, run_name='__main__')"
    command = [sys.executable, "-c", code % COMMAND[-1], str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stderr == "The emulator needs the Python module googleapiclient, which `make test` installs.\n"
    assert list(tmp_path.iterdir()) == []
