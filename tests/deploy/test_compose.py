"""deploy/compose.yaml and deploy/Caddyfile: the processes, their health, their secrets, and who reaches whom."""

import re
from pathlib import Path

import pytest

from connector import healthcheck
from connector.config import DeliverySettings, HireflixSettings, ServerSettings
from connector.role import Role, Secrets
from connector.web.server import GRACE_SECONDS
from tests.deploy.readers import DEPLOY, PAGE, SECRETS, caddy, compose, configured, require_command, stages

FILE = compose()
SERVICES = FILE["services"]
OURS = {name: service for name, service in SERVICES.items() if service.get("image") == FILE["name"]}
SHEET_AND_CHAT = """
[sinks.sheet]
type = "google_sheets"
spreadsheet = "1AbCdEfGhIjKlMnOpQrSt"
[sinks.chat]
type = "slack"
channel = "C0123456789"
"""
FULL = SECRETS | {
    "connector_defaults__slack__token": "xoxb-1",
    "connector_defaults__google_sheets__credentials": '{"type": "service_account"}',
}
RECEIVERS = [name for name in OURS if name.startswith("receiver")]


def seconds(text):
    return int(text.removesuffix("s"))


def mounts(service):
    """Source and target of each mount of a service."""
    return [mount.split(":")[:2] for mount in service.get("volumes", [])]


@pytest.mark.parametrize("name", OURS)
def test_every_command_exists_with_its_options(name):
    assert require_command(OURS[name]["command"]) == ("migrate" if name == "migrate" else "serve")


def test_there_are_two_receivers_and_two_workers():
    assert [OURS[name]["command"][-1] for name in RECEIVERS] == ["receiver", "receiver"]
    assert OURS["worker"]["command"][-1] == "worker"
    assert OURS["worker"]["deploy"]["replicas"] == 2


@pytest.mark.parametrize("name", OURS)
def test_every_variable_and_secret_of_ours_is_a_setting(name, tmp_path):
    own = {secret: SECRETS[secret] for secret in OURS[name]["secrets"]}
    config = configured(tmp_path, OURS[name].get("environment", {}), own, needs=Secrets.NONE)
    assert config.store.file is None


@pytest.mark.parametrize("name", OURS)
def test_every_process_has_the_secrets_of_its_role_and_no_others(name, tmp_path):
    command = OURS[name]["command"]
    needs = Role(command[-1]).needs if command[0] == "serve" else Secrets.NONE
    full = FULL | {"connector_hireflix__webhook_secrets": '["secret"]'}
    own = {secret: full[secret] for secret in OURS[name]["secrets"]}
    config = configured(tmp_path, {}, own, SHEET_AND_CHAT, needs=needs)
    assert bool(config.hireflix.webhook_secrets) is (Secrets.SOURCE in needs)
    assert (config.sinks["chat"].config.token is not None) is (Secrets.SINKS in needs)
    assert (config.sinks["sheet"].config.credentials is not None) is (Secrets.SINKS in needs)


def test_the_secrets_of_google_and_slack_reach_their_sinks(tmp_path):
    """The secrets are set by a file with values, and not by an empty file."""
    config = configured(tmp_path, {}, FULL, SHEET_AND_CHAT)
    assert config.sinks["chat"].config.token.get_secret_value() == "xoxb-1"
    assert "service_account" in config.sinks["sheet"].config.credentials.get_secret_value()


def test_the_store_url_and_the_database_agree():
    """User, password, host and name are those of the page."""
    environment = SERVICES["postgres"]["environment"]
    [line] = re.findall(r"^printf '(postgresql:[^']*)'.*> secrets/store_url", PAGE, re.MULTILINE)
    assert line == f"postgresql://{environment['POSTGRES_USER']}:%s@postgres/{environment['POSTGRES_DB']}"
    check = SERVICES["postgres"]["healthcheck"]["test"]
    assert f"--username={environment['POSTGRES_USER']}" in check
    assert f"--dbname={environment['POSTGRES_DB']}" in check
    assert Path(environment["POSTGRES_PASSWORD_FILE"]).name in SERVICES["postgres"]["secrets"]


def test_every_file_that_is_mounted_exists_or_is_made_by_the_page():
    sources = {source for service in SERVICES.values() for source, _ in mounts(service) if source.startswith(".")}
    sources |= {secret["file"] for secret in FILE["secrets"].values()}
    made = set(re.findall(r"(?:>|touch|cp \S+) ((?:secrets/)?[a-z_.]+)", PAGE))
    names = {source.removeprefix("./") for source in sources}
    assert len(names) > 5
    assert {name for name in names if not (DEPLOY / name).exists()} <= made


def test_the_configuration_is_mounted_where_the_image_reads_it():
    final = stages((DEPLOY / "Dockerfile").read_text())[-1]
    here = next(instruction.rest for instruction in final if instruction.word == "WORKDIR")
    for service in OURS.values():
        assert ["./config.toml", f"{here}/config.toml"] in mounts(service)
        assert ["data", f"{here}/data"] in mounts(service)


def test_the_build_is_that_of_the_image():
    for service in OURS.values():
        assert (DEPLOY / service["build"]["context"] / service["build"]["dockerfile"]).samefile(DEPLOY / "Dockerfile")


def test_what_is_named_is_declared_and_what_is_declared_is_used():
    volumes = {source for service in SERVICES.values() for source, _ in mounts(service) if not source.startswith(".")}
    assert volumes == set(FILE["volumes"])
    assert {name for service in SERVICES.values() for name in service.get("networks", [])} == set(FILE["networks"])
    assert {name for service in SERVICES.values() for name in service.get("secrets", [])} == set(FILE["secrets"])


def test_only_the_proxy_can_be_reached_from_outside():
    """The database has no port, and shares a network with our processes alone."""
    assert [name for name, service in SERVICES.items() if "ports" in service] == ["proxy"]
    assert SERVICES["postgres"]["networks"] == ["store"]
    assert FILE["networks"]["store"] == FILE["networks"]["proxied"] == {"internal": True}
    assert {name for name, service in SERVICES.items() if "store" in service["networks"]} == {"postgres", *OURS}


def test_workers_reach_their_destinations_and_receivers_nothing():
    assert "outside" in SERVICES["worker"]["networks"]
    assert not [name for name in RECEIVERS if "outside" in SERVICES[name]["networks"]]


def test_everything_starts_in_order():
    """The tables are created when the database accepts connections; all other services wait for that."""
    assert SERVICES["migrate"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    assert SERVICES["migrate"]["restart"] == "no"
    for name in (*RECEIVERS, "worker"):
        assert SERVICES[name]["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}
    assert set(SERVICES["proxy"]["depends_on"]) == set(RECEIVERS)


def test_every_service_that_others_wait_for_has_a_health_check():
    waited = {
        name
        for service in SERVICES.values()
        for name, on in service.get("depends_on", {}).items()
        if on["condition"] == "service_healthy"
    }
    assert waited == {"postgres", *RECEIVERS}
    assert all("healthcheck" in SERVICES[name] or name in OURS for name in waited)


def test_a_worker_is_asked_at_the_port_that_it_opens_for_that(tmp_path):
    worker = OURS["worker"]
    port = worker["environment"]["CONNECTOR_SERVER__WORKER_PORT"]
    assert worker["healthcheck"]["test"] == ["CMD", "python", "-m", healthcheck.__name__, port]
    assert configured(tmp_path, worker["environment"]).server.worker_port == int(port)


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_has_resource_limits_and_a_restart_policy(name):
    service = SERVICES[name]
    assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory"}
    assert service["restart"] == ("no" if name == "migrate" else "unless-stopped")


@pytest.mark.parametrize("name", OURS)
def test_connector_containers_have_only_the_rights_that_they_need(name):
    service = OURS[name]
    assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
    assert service["security_opt"] == ["no-new-privileges:true"]


@pytest.mark.parametrize("name", OURS)
def test_a_stop_waits_for_running_calls(name):
    assert seconds(OURS[name]["stop_grace_period"]) > DeliverySettings().stop_timeout + GRACE_SECONDS


class TestProxy:
    """deploy/Caddyfile."""

    def test_it_passes_on_the_webhook_and_nothing_else(self):
        assert caddy()["handle"] == [HireflixSettings().webhook_path]
        assert caddy()["respond"] == ["404"]

    def test_it_knows_every_receiver_at_its_port(self):
        assert caddy()["reverse_proxy"] == [f"{name}:{ServerSettings().port}" for name in RECEIVERS]
        for name in RECEIVERS:
            assert set(SERVICES["proxy"]["networks"]) & set(SERVICES[name]["networks"])

    def test_it_asks_for_health_where_there_is_an_answer(self):
        assert caddy()["health_uri"] == [healthcheck.PATH]

    def test_it_keeps_incomplete_requests_to_itself(self):
        """test_proxies.py shows the effect where a proxy is installed."""
        assert caddy()["request_buffers"] == ["1MiB"]
        assert seconds(caddy()["read_header"][0]) <= 10
        nginx = (DEPLOY / "nginx.conf").read_text()
        assert "proxy_request_buffering on;" in nginx
        assert "client_header_timeout 10s;" in nginx
        assert f"location = {HireflixSettings().webhook_path} {{" in nginx

    def test_its_name_comes_from_the_outside(self):
        """Compose refuses to start without one."""
        [name] = [directive for directive in caddy() if directive.startswith("{$")]
        assert name == "{$PUBLIC_NAME}"
        assert SERVICES["proxy"]["environment"]["PUBLIC_NAME"].startswith("${PUBLIC_NAME:?")
