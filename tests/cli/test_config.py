"""`config`: every setting as the service uses it, where it comes from, and no secret."""

import json

import pytest
from typer.testing import CliRunner

from connector.cli import app

TOML = """
timezone = "Europe/Madrid"
[server]
port = 8001
[defaults.slack]
privacy = "initials"
[sinks.recruiting]
type = "slack"
channel = "C0123456789"
[sinks.unused]
type = "console"
[[routes]]
sinks = ["recruiting"]
positions = ["Cook *"]
"""
ENVIRON = {
    "CONNECTOR_DEFAULTS__SLACK__TOKEN": "xoxb-s3cr3t-token",
    "CONNECTOR_HIREFLIX__WEBHOOK_SECRETS": '["s3cr3t-key"]',
    "CONNECTOR_SERVER__HOST": "0.0.0.0",
}


@pytest.fixture
def call(tmp_path):
    def run(*words, environ=ENVIRON, toml=TOML):
        (tmp_path / "config.toml").write_text(toml)
        return CliRunner().invoke(app, ["config", "--config", str(tmp_path / "config.toml"), *words], env=environ)

    return run


@pytest.fixture
def settings(call):
    return {one["setting"]: (one["value"], one["origin"]) for one in json.loads(call("--json").stdout)}


@pytest.mark.parametrize(
    ("setting", "value", "origin"),
    [
        ("timezone", "Europe/Madrid", "config.toml"),
        ("server.port", 8001, "config.toml"),
        ("server.host", "0.0.0.0", "CONNECTOR_SERVER__HOST"),
        ("logs.level", "info", "default"),
        ("hireflix.webhook_secrets", ["********"], "CONNECTOR_HIREFLIX__WEBHOOK_SECRETS"),
        ("sinks.recruiting.channel", "C0123456789", "config.toml"),
        ("sinks.recruiting.token", "********", "defaults.slack in CONNECTOR_DEFAULTS__SLACK__TOKEN"),
        ("sinks.recruiting.privacy", "initials", "defaults.slack in config.toml"),
        ("sinks.recruiting.timezone", "Europe/Madrid", "config.toml"),
        ("sinks.unused.type", "console", "config.toml"),
        ("routes[0].positions", ["Cook *"], "config.toml"),
    ],
)
def test_a_setting_is_shown_with_its_value_and_origin(settings, setting, value, origin):
    assert settings[setting] == (value, origin)


@pytest.mark.parametrize("words", [(), ("--json",), ("--changed",)])
def test_no_secret_is_printed(call, words):
    result = call(*words)
    assert result.exit_code == 0
    assert "s3cr3t" not in result.output


def test_the_password_of_a_database_is_not_printed(call):
    result = call(environ={**ENVIRON, "CONNECTOR_STORE__URL": "postgresql://user:s3cr3t@db.example/name"})
    assert 'url = "postgresql://db.example/name"  # CONNECTOR_STORE__URL' in result.stdout


def test_settings_are_printed_like_a_config_file_with_their_origin(call):
    lines = call().stdout.splitlines()
    assert lines[lines.index("[server]") + 1] == 'host = "0.0.0.0"  # CONNECTOR_SERVER__HOST'
    assert "worker_port = none  # default" in lines


def test_with_changed_only_what_a_source_sets_is_printed(call):
    lines = call("--changed").stdout.splitlines()
    assert "port = 8001  # config.toml" in lines
    assert not any(line.endswith("# default") for line in lines)


def test_missing_secrets_do_not_prevent_the_list(call):
    result = call(environ={})
    assert result.exit_code == 0
    assert "webhook_secrets = []  # default" in result.stdout


def test_hostile_text_of_a_file_does_not_reach_the_terminal(call):
    result = call(toml=TOML.replace("Cook *", "Cook\\u001b[2J"))
    assert "\x1b" not in result.stdout


def test_user_and_password_in_an_address_are_secrets(call):
    """An address with them is unusual, and a setting for it is not a secret as a whole."""
    address = "https://ada:s3cr3t@proxy.example.org/me"
    result = call("--json", environ=ENVIRON | {"CONNECTOR_HIREFLIX__API_URL": address})
    shown = {each["setting"]: each["value"] for each in json.loads(result.stdout)}
    assert shown["hireflix.api_url"] == "https://********@proxy.example.org/me"
