"""README and docs: every command, setting, sink, file and module that they name exists."""

import re
import tomllib
from pathlib import Path

import pytest

from connector.config import load
from connector.registry import built_in_types
from tests.deploy.readers import ROOT, blocks, commands, wrong_words

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").rglob("*.md"))]
EACH = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
SECRETS = {
    "CONNECTOR_HIREFLIX__WEBHOOK_SECRETS": '["hush-hush"]',
    "CONNECTOR_DEFAULTS__SLACK__TOKEN": "xoxb-1-2-abc",
}


@EACH
def test_every_command_that_is_named_exists_with_its_options(page):
    named = [words for words in commands(page.read_text()) if words != ["…"]]
    assert [(words, wrong) for words in named if (wrong := wrong_words(words))] == []


@EACH
def test_every_module_that_is_named_exists(page):
    named = set(re.findall(r"`((?:connector|sinks)(?:/[a-z_]+)+(?:\.py|/)?)`", page.read_text()))
    paths = {name for name in named if not (ROOT / name).exists() and not (ROOT / f"{name}.py").exists()}
    assert paths == set()


@EACH
def test_every_dotted_module_that_is_named_exists(page):
    named = set(re.findall(r"`((?:connector|sinks)(?:\.[a-z_]+)+)`", page.read_text())) - {"connector.sinks"}
    missing = {name for name in named if not _exists(name)}
    assert missing == set()


def _exists(name):
    path = ROOT.joinpath(*name.split("."))
    return path.is_dir() or path.with_suffix(".py").exists() or _defines(path.parent, path.name)


def _defines(module: Path, name):
    file = module / "__init__.py" if module.is_dir() else module.with_suffix(".py")
    return file.exists() and re.search(rf"\b{name}\b", file.read_text()) is not None


@EACH
def test_every_sink_type_in_an_example_ships_with_the_connector_or_is_made_on_that_page(page):
    text = page.read_text()
    named = {kind for block in blocks(text, "toml") for kind in re.findall(r'^type = "(\w+)"', block, re.MULTILINE)}
    made = set(re.findall(r"^(\w+) = \"[\w.]+:\w+\"", text, re.MULTILINE)) | set(re.findall(r"# sinks/(\w+)\.py", text))
    assert named <= set(built_in_types()) | made


def test_the_configuration_of_the_readme_loads(tmp_path):
    text = "\n".join(blocks((ROOT / "README.md").read_text(), "toml"))
    (tmp_path / "config.toml").write_text("\n".join(line.removeprefix("   ") for line in text.splitlines()))
    (tmp_path / "service-account.json").write_text("{}")
    config = load(environ=SECRETS, cwd=tmp_path)
    assert set(config.sinks) == {"hiring_sheet", "recruiting"}
    assert len(tomllib.loads((tmp_path / "config.toml").read_text())["routes"]) == 2


def test_the_readme_lists_exactly_the_sinks_that_ship():
    [row] = re.findall(r"all sinks and their settings: (.*) \|", (ROOT / "README.md").read_text())
    assert set(re.findall(r"`(\w+)`", row)) == set(built_in_types())
