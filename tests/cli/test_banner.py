"""The startup message of a service."""

import sys
from pathlib import Path

import pytest

from connector.cli.banner import banner, executable
from connector.config import ensure_secret, load
from connector.operations.password import ensure_password
from connector.role import Role

BASE = "http://127.0.0.1:8000"


def line(text, title):
    return next(row.split(title, 1)[1].strip() for row in text.splitlines() if row.strip().startswith(title))


@pytest.fixture
def settings(config):
    return load(config, {}, config.parent)


def test_a_file_is_shown_by_its_path_and_any_other_sink_by_its_destination(settings, config):
    said = banner(settings, BASE)
    assert f"sheet (workbook): {config.parent / 'sheet.xlsx'}\n" in said
    assert "chat (console): stdout\n" in said


def test_a_configured_secret_is_counted_and_not_shown(settings):
    said = banner(settings, BASE)
    assert line(said, "Secret") == "from the configuration (1)"
    assert "hush-hush" not in said


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_generated_secret_is_printed_to_a_terminal_only(tmp_path, monkeypatch, is_terminal):
    """Standard output of a service is often a log, which more people can read."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: is_terminal)
    made = ensure_secret(load(environ={}, cwd=tmp_path))
    said = line(banner(made, BASE, new_secret=True), "Secret")
    assert (made.hireflix.webhook_secrets[0].get_secret_value() in said) is is_terminal
    assert str(tmp_path / "data" / "webhook-secret") in said


def test_a_receiver_names_its_sinks_without_their_destinations(settings):
    """A destination may be derived from a secret, which a receiver does not have."""
    said = banner(settings, BASE, Role.RECEIVER)
    assert "chat (console)" in said
    assert "stdout" not in said


def test_the_command_to_paste_names_the_config_file(settings, config):
    assert line(banner(settings, BASE), "Try it").endswith(f"send --sample interview.finish --config {config}")


@pytest.mark.parametrize("is_terminal", [True, False])
def test_the_command_that_makes_a_password_names_the_config_file(settings, config, monkeypatch, is_terminal):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: is_terminal)
    made = ensure_password(settings)
    said = line(banner(settings, BASE, password=made), "Password")
    assert f"password --config {config}" in said
    assert (made in said) is is_terminal


def test_without_a_config_file_the_command_goes_to_its_folder_first(tmp_path):
    folder = tmp_path / "my folder"
    folder.mkdir()
    said = line(banner(load(environ={}, cwd=folder), BASE), "Try it")
    assert said.startswith(f"cd '{folder}' && ")
    assert said.endswith("send --sample interview.finish")


def test_the_command_to_paste_names_an_address_that_is_not_in_the_configuration(settings):
    said = banner(settings, "http://127.0.0.1:49152")
    assert "--url http://127.0.0.1:49152/webhooks/hireflix --config" in line(said, "Try it")


def test_the_command_to_paste_names_an_address_that_a_variable_of_this_terminal_sets(config, monkeypatch):
    monkeypatch.setenv("CONNECTOR_SERVER__PORT", "8931")
    said = banner(load(config), "http://127.0.0.1:8931")
    assert "--url http://127.0.0.1:8931/webhooks/hireflix --config" in line(said, "Try it")


@pytest.fixture
def script(tmp_path, monkeypatch):
    """An executable named `connector`, and this process as if it had been started by it."""
    file = tmp_path / "bin dir" / "connector"
    file.parent.mkdir()
    file.write_text("#!/bin/sh\n")
    file.chmod(0o755)
    monkeypatch.setattr(sys, "argv", [str(file)])
    return file


def test_a_program_on_the_path_is_called_by_its_name(script, monkeypatch):
    monkeypatch.setenv("PATH", str(script.parent))
    assert executable() == ["connector"]


def test_a_program_elsewhere_is_called_by_its_whole_path_and_quoted(script, monkeypatch, settings):
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.chdir(script.parent)
    monkeypatch.setattr(sys, "argv", ["./connector"])
    assert executable() == [str(script)]
    assert line(banner(settings, BASE), "Try it").startswith(f"'{script}' send")


def test_a_module_is_called_as_one(monkeypatch):
    monkeypatch.setattr(sys, "argv", [str(Path("connector/cli/__main__.py"))])
    assert executable() == [sys.executable, "-m", "connector.cli"]
