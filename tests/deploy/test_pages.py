"""docs/deploying.md and docs/scaling.md: their commands, settings, metrics and links exist."""

import re

import pytest

from connector.config import Settings
from connector.config.messages import fields_at
from connector.web.metrics import Metrics
from tests.deploy.readers import PAGE, ROOT, SECRETS, blocks, commands, compose, configured, require_command, typed

SCALING = (ROOT / "docs" / "scaling.md").read_text()
BOTH = pytest.mark.parametrize("page", [PAGE, SCALING], ids=["deploying", "scaling"])


def anchors(text):
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@BOTH
def test_every_command_to_type_exists_with_its_options(page):
    called = [words for words in commands(page) if words not in ([], ["…"])]
    assert len(called) >= 3
    for words in called:
        require_command(words)


def test_every_argument_of_docker_compose_is_one_of_its_services():
    lines = [words[2:] for words in typed(PAGE) if words[:2] == ["docker", "compose"]]
    assert len(lines) >= 8
    for _, *words in lines:
        rest = [word for word in words if not word.startswith("-")]
        assert set(rest[:1]) <= set(compose()["services"])


@BOTH
def test_every_setting_exists(page):
    named = re.findall(r"`\[(\w+)\](?: (\w+))?`", page)
    named += [(part, name) for block in blocks(page, "toml") for part, name in re.findall(r"\[(\w+)\]\n(\w+) =", block)]
    assert named
    for part, name in named:
        assert fields_at(Settings, (part,))
        assert not name or name in fields_at(Settings, (part,))


@BOTH
def test_every_metric_exists(page):
    known = {family.name for family in Metrics().registry.collect()}
    assert {name.removesuffix("_total") for name in re.findall(r"`(connector_[a-z_]+?)[`{]", page)} <= known | {
        name for name in SECRETS if name.startswith("connector_")
    } | {"connector_sinks__forward__secret"}


@BOTH
def test_every_link_leads_somewhere(page):
    links = re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)", page)
    assert len(links) > 3
    for path, anchor in links:
        target = (ROOT / "docs" / path).read_text() if path else page
        assert not anchor or anchor in anchors(target)


@BOTH
def test_every_file_of_ours_that_is_named_exists(page):
    named = set(re.findall(r"(?<![\w/.])(?:deploy|docs|benchmarks)/[\w@.-]+", page))
    assert named
    assert [name for name in named if not (ROOT / name.rstrip(".")).exists()] == []


def test_the_variable_of_a_secret_that_is_named_is_a_setting(tmp_path):
    """A file more is a secret more."""
    toml = '[sinks.forward]\ntype = "webhook"\nurl = "https://hooks.example.org/x"\n'
    secret = {"connector_sinks__forward__secret": "whsec_" + "QUFB" * 10}
    config = configured(tmp_path, {}, SECRETS | secret, toml)
    assert config.sinks["forward"].config.secret.get_secret_value() == secret["connector_sinks__forward__secret"]
