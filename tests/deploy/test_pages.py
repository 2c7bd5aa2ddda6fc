"""docs/deploying.md and docs/scaling.md: their commands can be typed. `test_claims` checks what every page names."""

import pytest

from tests.deploy.readers import PAGE, ROOT, SECRETS, commands, compose, configured, require_command, typed

SCALING = (ROOT / "docs" / "scaling.md").read_text()
BOTH = pytest.mark.parametrize("page", [PAGE, SCALING], ids=["deploying", "scaling"])


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


def test_the_variable_of_a_secret_that_is_named_is_a_setting(tmp_path):
    """Each file is a secret."""
    toml = '[sinks.forward]\ntype = "webhook"\nurl = "https://hooks.example.org/x"\n'
    secret = {"connector_sinks__forward__secret": "whsec_" + "QUFB" * 10}
    config = configured(tmp_path, {}, SECRETS | secret, toml)
    assert config.sinks["forward"].config.secret.get_secret_value() == secret["connector_sinks__forward__secret"]
