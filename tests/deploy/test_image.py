"""deploy/Dockerfile: its content, its user, and its command."""

from pathlib import Path

import pytest

from connector import healthcheck
from connector.config import ServerSettings
from tests.deploy.readers import DEPLOY, ROOT, all_of, configured, is_sent, one_of, require_command, stages

BUILD, FINAL = stages((DEPLOY / "Dockerfile").read_text())
RULES = (ROOT / ".dockerignore").read_text().splitlines()


def sources(stage):
    """The paths of the tree that a stage copies."""
    return [
        word for copy in all_of(stage, "COPY") if not copy.rest.startswith("--from=") for word in copy.rest.split()[:-1]
    ]


def test_everything_that_is_copied_exists_and_is_sent_to_the_build():
    assert len(sources(BUILD)) > 5
    for source in sources(BUILD):
        assert (ROOT / source).exists()
        assert is_sent(source, RULES)
        assert is_sent(f"{source}/app.py", RULES) or (ROOT / source).is_file()


@pytest.mark.parametrize(
    "path",
    [
        ".env",
        ".git/config",
        "config.toml",
        "data/connector.db",
        "deploy/secrets/store_url",
        "deploy/config.toml",
        "service-account.json",
        "connector/__pycache__/app.pyc",
    ],
)
def test_secrets_and_stores_are_never_sent(path):
    assert not is_sent(path, RULES)


def test_the_last_stage_copies_only_the_environment():
    assert sources(FINAL) == []
    assert [copy.rest for copy in all_of(FINAL, "COPY")] == ["--from=build /opt/connector /opt/connector"]


def test_every_package_is_held_by_a_hash():
    installs = [part for run in all_of(BUILD, "RUN") for part in run.rest.split("&&") if "install" in part]
    assert len(installs) == 3
    for install in installs:
        assert "--require-hashes" in install or "--no-deps --no-index" in install


def test_the_last_stage_installs_nothing_and_has_no_installer():
    words = " ".join(run.rest for run in all_of(FINAL, "RUN")).split()
    assert not {"apt-get", "apt", "curl", "wget"} & set(words)
    assert [words[place + 1] for place, word in enumerate(words) if word == "pip"][:1] == ["uninstall"]


def test_it_runs_as_a_user_that_owns_the_data_and_is_not_root():
    user, group = one_of(FINAL, "USER").rest.split(":")
    made = " ".join(run.rest for run in all_of(FINAL, "RUN"))
    assert int(user) > 0
    assert f"--uid {user}" in made
    assert f"--owner={user} --group={group} --mode=0700" in made


def test_the_volume_is_the_data_folder_of_the_configuration(tmp_path):
    """The working folder holds config.toml, and data/ beside it is the volume."""
    here = one_of(FINAL, "WORKDIR").rest
    [volume] = one_of(FINAL, "VOLUME").words
    config = configured(tmp_path, {})
    assert Path(volume) == Path(here) / config.data_folder.relative_to(config.folder)


def test_the_service_gets_signals_without_a_shell():
    """Exec form throughout; SIGTERM is what the service listens to."""
    start = one_of(FINAL, "ENTRYPOINT").words + one_of(FINAL, "CMD").words
    assert start[0] == "connector"
    assert require_command(start[1:]) == "serve"
    assert one_of(FINAL, "STOPSIGNAL").rest == "SIGTERM"


def test_the_health_check_asks_the_port_that_the_service_listens_on(tmp_path):
    check = one_of(FINAL, "HEALTHCHECK")
    words = check._replace(rest=check.rest.partition("CMD ")[2]).words
    assert words[:3] == ["python", "-m", healthcheck.__name__]
    config = configured(tmp_path, {})
    assert words[3:] == [one_of(FINAL, "EXPOSE").rest] == [str(config.server.port)] == [str(ServerSettings().port)]


def test_its_variables_are_settings(tmp_path):
    words = [word.split("=", 1) for word in one_of(FINAL, "ENV").rest.split()]
    ours = {name: value for name, value in words if name.startswith("CONNECTOR_")}
    assert configured(tmp_path, ours).server.host == "0.0.0.0"


def test_its_python_is_one_that_the_package_promises():
    versions = {line.split("=")[1] for line in (DEPLOY / "Dockerfile").read_text().splitlines() if "ARG" in line}
    promised = (ROOT / "pyproject.toml").read_text()
    assert len(versions) == 1
    assert all(f'"Programming Language :: Python :: {version}"' in promised for version in versions)
    assert {one_of(stage, "FROM").rest.split()[0] for stage in (BUILD, FINAL)} == {"python:${PYTHON}-slim-bookworm"}
