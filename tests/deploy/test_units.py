"""The systemd units: command, user, rights and stop."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from connector.cli import BAD_USAGE
from connector.config import DeliverySettings
from connector.web.server import GRACE_SECONDS
from tests.deploy.readers import DEPLOY, PAGE, blocks, configured, require_command, unit

UNITS = ("connector.service", "connector-receiver@.service", "connector-worker@.service")
OWN = {"ExecStart", "Environment", "EnvironmentFile"}
"""The differences between the units."""


def service(name):
    return unit(name)["Service"]


@pytest.mark.parametrize(
    ("name", "role"), [(UNITS[0], []), (UNITS[1], ["--role", "receiver"]), (UNITS[2], ["--role", "worker"])]
)
def test_what_it_starts_is_a_command(name, role):
    program, *words = shlex.split(service(name)["ExecStart"][0])
    assert Path(program).name == "connector"
    assert require_command(words) == "serve"
    assert words[1:-2] == role


def test_program_and_configuration_lie_where_the_page_puts_them():
    program, *_, config = shlex.split(service(UNITS[0])["ExecStart"][0])
    assert f"{Path(program).parent}/pip install --no-deps --no-build-isolation ." in PAGE
    assert f"config.example.toml {config} " in PAGE


@pytest.mark.parametrize("name", UNITS)
def test_variables_are_settings(name, tmp_path):
    """The port of a receiver is the name of its instance."""
    lines = [line.replace("%i", "8001") for line in service(name).get("Environment", [])]
    environ = dict(line.split("=", 1) for line in lines)
    assert configured(tmp_path, environ).server.port == (8001 if name == UNITS[1] else 8000)


@pytest.mark.parametrize("name", UNITS)
def test_a_stop_waits_for_running_calls(name):
    assert float(service(name)["TimeoutStopSec"][0]) > DeliverySettings().stop_timeout + GRACE_SECONDS
    assert service(name)["KillMode"] == ["mixed"]


@pytest.mark.parametrize("name", UNITS)
def test_it_is_started_again_unless_an_operator_has_to_act(name):
    assert service(name)["Restart"] == ["always"]
    assert service(name)["RestartPreventExitStatus"] == [str(BAD_USAGE)]


@pytest.mark.parametrize("name", UNITS)
def test_it_runs_as_the_user_that_the_page_makes(name):
    [user] = re.findall(r"^useradd .* (\w+)$", PAGE, re.MULTILINE)
    assert service(name)["User"] == service(name)["Group"] == [user]


def test_the_store_is_in_the_one_folder_that_can_be_written():
    assert service(UNITS[0])["ProtectSystem"] == ["strict"]
    assert "ReadWritePaths" not in service(UNITS[0])
    [url] = re.findall(r'url = "sqlite:///([^"]*)"', blocks(PAGE, "toml")[0])
    assert Path(url).parent == Path("/var/lib") / service(UNITS[0])["StateDirectory"][0]
    assert service(UNITS[0])["StateDirectoryMode"] == ["0700"]


@pytest.mark.parametrize("name", UNITS)
def test_all_have_the_same_few_rights(name):
    found = service(name)
    for right in ("NoNewPrivileges", "ProtectHome", "PrivateTmp", "PrivateDevices", "RestrictSUIDSGID"):
        assert found[right] == ["yes"]
    assert found["CapabilityBoundingSet"] == [""]
    assert {key: value for key, value in found.items() if key not in OWN} == {
        key: value for key, value in service(UNITS[0]).items() if key not in OWN
    }


@pytest.mark.parametrize("name", UNITS)
def test_the_metrics_of_the_process_can_be_read(name):
    """`ProcSubset=pid` hides /proc/stat, without which prometheus-client returns no `process_` metric."""
    assert service(name).get("ProcSubset", ["all"]) == ["all"]


@pytest.mark.parametrize("name", UNITS)
def test_systemd_itself_finds_no_fault_where_it_is_at_hand(name, tmp_path):
    """Elsewhere the unit must at least consist of the three sections that systemd wants."""
    assert set(unit(name)) == {"Unit", "Service", "Install"}
    program = shutil.which("systemd-analyze")
    if program is None:
        return
    text = (DEPLOY / name).read_text().replace("/opt/connector/bin/connector", "/bin/true")
    (tmp_path / name).write_text(text)
    done = subprocess.run(
        [program, "verify", "--recursive-errors=no", tmp_path / name],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stderr == ""


def test_each_role_reads_its_secrets_from_a_file_of_its_own():
    files = [service(name).get("EnvironmentFile") for name in UNITS if "@" in name]
    assert sorted(files) == [["-/etc/connector/receiver.env"], ["-/etc/connector/worker.env"]]
