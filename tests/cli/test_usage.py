"""Every command: its help, what it says to wrong usage and configuration, and how little it imports for that."""

import errno
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from connector import __version__
from connector.cli import COMMANDS, MACHINE, app, load_command

LOADED = {name: load_command(name) for name in COMMANDS}
GROUPED = {f"{group} {name}": command for group in ("store", "hireflix")
           for name, command in LOADED.pop(group).commands.items()}  # fmt: skip
ALL = LOADED | GROUPED
NAMES = list(ALL)
WITH_CONFIG = [name for name in NAMES if name not in {"demo", "init"}]
NEEDED = {
    "explain": ["1"],
    "event": ["1"],
    "snooze": ["interview-1"],
    "pause": ["chat"],
    "resume": ["chat"],
    "verify": ["sheet"],
    "send": ["--sample", "interview.finish"],
    "store backup": ["backup.db"],
    "store restore": ["backup.db"],
    "store copy": ["--to", "postgresql://h/n"],
    "hireflix decide": ["i-1", "shortlist"],
    "dismiss": ["--sink", "chat", "--reason", "closed"],
}
HEAVY = {"sqlalchemy", "litestar", "uvicorn", "httpx", "openpyxl", "structlog", "connector.config", "connector.sink"}


def invoke(name="", *words):
    """Runs a command; its name may have two parts."""
    return CliRunner().invoke(app, [*name.split(), *words])


def test_the_commands_are_those_of_the_design():
    assert set(NAMES) == {
        *(
            "serve",
            "init",
            "check",
            "config",
            "demo",
            "send",
            "explain",
            "status",
            "events",
            "interviews",
            "deliveries",
            "attempts",
            "event",
        ),
        *(
            "audit",
            "replay",
            "dismiss",
            "snooze",
            "pause",
            "resume",
            "verify",
            "erase",
            "password",
            "backfill",
            "reconcile",
            "migrate",
        ),
        *("store backup", "store restore", "store copy"),
        *("hireflix webhook", "hireflix doctor", "hireflix decide", "hireflix decisions", "hireflix record"),
    }


def test_the_version_is_printed():
    result = invoke("--version")
    assert (result.exit_code, result.stdout) == (0, f"hireflix-connector {__version__}\n")


def test_without_a_command_the_help_comes_and_that_is_bad_usage():
    result = invoke()
    assert result.exit_code == 2
    assert "Commands:" in result.output


@pytest.mark.parametrize("name", NAMES)
def test_every_command_has_a_line_in_the_help_that_is_not_cut(name):
    *group, last = name.split()
    line = next(line for line in invoke(*group, "--help").stdout.splitlines() if line.split()[:1] == [last])
    assert line.endswith(".")
    assert not line.endswith("...")


@pytest.mark.parametrize("name", NAMES)
def test_every_option_of_every_command_is_explained(name):
    result = invoke(name, "--help")
    assert result.exit_code == 0
    assert "Usage: " in result.stdout
    assert ALL[name].help.split(".")[0] in " ".join(result.stdout.split())


@pytest.mark.parametrize("name", NAMES)
def test_an_unknown_option_is_bad_usage(name):
    result = invoke(name, *NEEDED.get(name, []), "--colour", "red")
    assert result.exit_code == 2
    assert "No such option: --colour" in result.stderr


@pytest.mark.parametrize("name", WITH_CONFIG)
def test_a_config_file_that_is_not_there_is_bad_usage(name, tmp_path):
    result = invoke(name, *NEEDED.get(name, []), *(["--sink", "chat"] if name == "replay" else []),
                    "--config", str(tmp_path / "none.toml"))  # fmt: skip
    assert result.exit_code == 2
    assert "the config file is missing" in result.stderr
    assert "Traceback" not in result.output


@pytest.mark.parametrize("name", WITH_CONFIG)
def test_all_problems_of_a_config_file_are_reported_at_once_and_nothing_is_created(name, tmp_path):
    """Each with its place and a hint, without the values."""
    file = tmp_path / "config.toml"
    file.write_text('[hireflix]\nwebhook_secrets = "top-secret"\n[server]\nprot = 1\n')
    result = invoke(
        name, *NEEDED.get(name, []), *(["--sink", "chat"] if name == "replay" else []), "--config", str(file)
    )
    assert result.exit_code == 2
    assert "hireflix.webhook_secrets: must be a list" in result.stderr
    assert "server.prot: unknown setting\n    → did you mean port?" in result.stderr
    assert "top-secret" not in result.output
    assert [entry.name for entry in tmp_path.iterdir()] == ["config.toml"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["serve", "--role", "boss"], "boss"),
        (["demo", "--events", "0"], "--events"),
        (["demo", "--rate", "0"], "--rate"),
        (["send", "--sample", "jurney"], "unknown sample 'jurney'; did you mean journey?"),
        (["send"], "give a FILE, or --sample with one of: interview.create,"),
        (["send", "x.json", "--sample", "interview.finish"], "give a FILE, or --sample"),
        (["send", "--sample", "interview.finnish"], "did you mean interview.finish?"),
        (["send", "no-such-file.json"], "no-such-file.json cannot be read: No such file"),
        (["explain"], "FILE|EVENT_ID"),
        (["explain", "no-such-file.json"], "no-such-file.json cannot be read: No such file"),
        (["events", "--limit", "0"], "'--limit': must be greater than or equal to 1"),
        (["events", "--kind", "odd"], "'--kind': 'odd' is not one of 'event', 'unknown', 'unreadable'"),
        (["interviews", "--stage", "hired"], "'--stage': 'hired' is not one of 'pending',"),
        (["deliveries", "--state", "lost"], "'--state': 'lost' is not one of 'pending',"),
        (["deliveries", "--event", "one"], "'--event': must be a valid integer\n"),
        (["replay", "one"], "DELIVERY"),
        (["replay"], "select what to replay"),
        (["pause"], "SINK"),
        (["resume", "chat", "--refill", "--accept"], "exclude each other"),
        (["statsu"], "No such command 'statsu'. Did you mean 'status'?"),
        (["frobnicate"], "No such command 'frobnicate'."),
        (["interviews", "--search", "J\udcfcrgen"], "An argument is not UTF-8 text."),
    ],
)
def test_bad_usage_says_what_is_wrong(words, says, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    result = invoke(*words)
    assert result.exit_code == 2
    assert says in result.stderr
    assert "Traceback" not in result.output
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_all_commands_repeats_the_first_sentence_of_each(name):
    assert COMMANDS[name].help == f"{load_command(name).help.split('.')[0]}."


@pytest.mark.parametrize("words", [["--version"], ["--help"]])
def test_the_help_of_all_commands_imports_nothing_heavy(words):
    """That is what makes it start at once."""
    code = f"""
import sys
from connector.cli import app
app({words!r}, standalone_mode=False)
print(*sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "connector.cli" in done.stdout.split()
    assert not HEAVY & set(done.stdout.split())


@pytest.mark.parametrize("words", [["status"], ["events"], ["pause", "chat"], ["store", "backup", "copy.db"]])
def test_a_store_that_this_user_cannot_open_is_one_line(words, run, config):
    """A name that is too long fails like a folder of another user, also for root."""
    config.write_text(config.read_text().replace("sqlite:///connector.db", f"sqlite:///{'x' * 300}.db"))
    result = run(*words)
    assert (result.exit_code, result.exception.__class__) == (1, SystemExit)
    assert result.stderr.startswith("error: the store ")
    assert "run this as the user of the service" in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_check_lists_a_store_that_this_user_cannot_open_among_the_findings(run, config):
    config.write_text(config.read_text().replace("sqlite:///connector.db", f"sqlite:///{'x' * 300}.db"))
    result = run("check")
    assert result.exit_code == 1
    assert "problem   store: " in result.stdout
    assert "ok        sinks.chat" in result.stdout


def test_a_config_file_that_this_user_cannot_open_is_bad_usage():
    result = CliRunner().invoke(app, ["status"], env={"CONNECTOR_CONFIG": "x" * 300})
    assert result.exit_code == 2
    assert "cannot be read: File name too long" in result.stderr


@pytest.mark.parametrize("number", sorted(MACHINE))
def test_an_error_of_the_machine_is_one_line_with_the_file_and_what_to_do(number, run, world, monkeypatch):
    def failing(*_):
        raise OSError(number, "unused", "/srv/connector/file")

    monkeypatch.setattr("connector.cli.status.health_here", failing)
    result = run("status")
    assert (result.exit_code, result.exception.__class__) == (1, SystemExit)
    assert result.stderr.startswith("error: /srv/connector/file: ")
    assert result.stderr.endswith(f"; {MACHINE[number]}\n")


def test_an_error_of_the_program_keeps_its_traceback(run, world, monkeypatch):
    def failing(*_):
        raise OSError(errno.EBADF, "unused")

    monkeypatch.setattr("connector.cli.status.health_here", failing)
    assert isinstance(run("status").exception, OSError)
