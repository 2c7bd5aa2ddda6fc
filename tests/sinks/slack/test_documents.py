"""The app manifests and the guide agree with the code."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from sinks.chat.changes import Events, Mode
from sinks.chat.wording import Templates
from sinks.slack.diagnostics import GROUPS, RECOMMENDED, REQUIRED
from sinks.slack.diagnostics import manifest as generated

ROOT = Path(__file__).parents[3]


def manifest(name: str) -> dict[str, Any]:
    return yaml.safe_load((ROOT / "deploy" / f"slack-manifest-{name}.yaml").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("name", "scopes"),
    [
        ("minimal", [*REQUIRED]),
        ("full", [*REQUIRED, *RECOMMENDED]),
        ("decisions", [*REQUIRED, *RECOMMENDED, GROUPS]),
    ],
)
def test_a_manifest_asks_for_the_scopes_that_the_code_uses(name: str, scopes: list[str]) -> None:
    assert manifest(name)["oauth_config"]["scopes"]["bot"] == scopes


@pytest.mark.parametrize("name", ["minimal", "full", "decisions"])
def test_a_manifest_is_the_one_that_the_code_makes(name: Any) -> None:
    text = (ROOT / "deploy" / f"slack-manifest-{name}.yaml").read_text(encoding="utf-8")
    assert text == generated(name)


@pytest.mark.parametrize("name", ["minimal", "full"])
def test_a_manifest_needs_no_public_address_and_no_rotation(name: str) -> None:
    settings = manifest(name)["settings"]
    assert not settings["interactivity"]["is_enabled"]
    assert not settings["token_rotation_enabled"]
    assert not settings["socket_mode_enabled"]


def test_the_manifest_for_decisions_needs_no_public_address_either() -> None:
    settings = manifest("decisions")["settings"]
    assert settings["socket_mode_enabled"]
    assert settings["interactivity"] == {"is_enabled": True}


def test_the_manifests_differ_in_scopes_only() -> None:
    minimal, full = manifest("minimal"), manifest("full")
    minimal["oauth_config"] = full["oauth_config"] = {}
    assert minimal == full


@pytest.mark.parametrize("name", ["minimal", "full"])
def test_names_keep_to_slacks_limits(name: str) -> None:
    shown = manifest(name)["display_information"]
    assert len(shown["name"]) <= 35
    assert len(shown["description"]) <= 140


@pytest.mark.parametrize(("table", "words"), [("mode", get_args(Mode)), ("event", Events.model_fields)])
def test_the_guide_explains_every_mode_and_event(table: str, words: Any) -> None:
    page = (ROOT / "docs" / "slack.md").read_text(encoding="utf-8")
    assert [word for word in words if f"| `{word}` |" not in page] == [], table


def test_the_guide_shows_the_templates_as_they_are() -> None:
    """The section on wording holds the defaults, and they load."""
    page = (ROOT / "docs" / "slack.md").read_text(encoding="utf-8")
    [block] = [one for one in page.split("```toml\n") if "[sinks.recruiting.templates]" in one.split("```")[0]]
    written = tomllib.loads(block.split("```")[0])["sinks"]["recruiting"]["templates"]
    assert Templates.model_validate(written) == Templates()
