"""The precedence of sources, and the conversion of the text of a variable."""

import json
import logging
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.config import load
from connector.config.settings import merged
from connector.errors import ConfigError

from .conftest import SECRET

LAYERS = ["file", "secrets", "dotenv", "environ"]
PORTS = st.dictionaries(st.sampled_from(LAYERS), st.integers(1, 65535))
LEAVES = st.integers() | st.lists(st.integers(), max_size=2)
TREES = st.recursive(LEAVES, lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3), max_leaves=8)
TYPED = st.recursive(
    st.dictionaries(st.sampled_from(["port", "host"]), LEAVES),
    lambda inner: st.builds(
        dict.__or__,
        st.dictionaries(st.sampled_from(["port", "host"]), LEAVES),
        st.dictionaries(st.sampled_from(["server", "sinks"]), inner),
    ),
    max_leaves=6,
)
"""Trees in which a name is always a table, or always a value, as in one that a model accepts."""
TABLES = st.dictionaries(st.sampled_from("abc"), TREES, max_size=3)


def write_layers(folder, ports):
    """Writes the port at each of the layers and gives the environment."""
    (folder / "secrets").mkdir()
    (folder / "config.toml").write_text(f"[server]\nport = {ports['file']}\n" if "file" in ports else "")
    if "secrets" in ports:
        (folder / "secrets" / "connector_server__port").write_text(f"{ports['secrets']}\n")
    if "dotenv" in ports:
        (folder / ".env").write_text(f"CONNECTOR_SERVER__PORT={ports['dotenv']}\n")
    environ = {**SECRET, "CONNECTOR_SECRETS_DIR": "secrets"}
    return environ | ({"CONNECTOR_SERVER__PORT": str(ports["environ"])} if "environ" in ports else {})


@given(ports=PORTS)
def test_the_highest_source_with_a_value_counts(ports):
    """Environment, `.env`, secrets directory, file, default: in every combination."""
    with tempfile.TemporaryDirectory() as name:
        environ = write_layers(Path(name), ports)
        config = load(environ=environ, cwd=Path(name))
    said = [ports[layer] for layer in LAYERS if layer in ports]
    assert config.server.port == (said[-1] if said else 8000)


@given(low=TABLES, high=TABLES)
def test_merging_keeps_all_of_the_high_tree(low, high):
    """And the values of the low tree that the high one does not set."""
    both = merged(low, high)
    assert both.keys() == low.keys() | high.keys()
    assert merged(both, high) == both
    assert {key: both[key] for key in low.keys() - high.keys()} == {key: low[key] for key in low.keys() - high.keys()}


@given(low=TYPED, middle=TYPED, high=TYPED)
def test_merging_is_associative_where_kinds_agree(low, middle, high):
    """So only the precedence of the sources matters, not the order of merging."""
    assert merged(merged(low, middle), high) == merged(low, merged(middle, high))


def test_values_of_one_table_come_from_all_sources(folder):
    """Values of one table may come from all of them."""
    folder.write("secrets/connector_sinks__post__token", "from-secrets\n")
    folder.write(".env", "CONNECTOR_SINKS__POST__SPEED=2.5\n")
    config = folder.load(
        '[sinks.post]\ntype = "pigeon"\ngrain = "rye"',
        CONNECTOR_SECRETS_DIR="secrets",
        CONNECTOR_SINKS__POST__BIRDS='["Berta"]',
    )
    settings = config.sinks["post"].config
    assert (settings.grain, settings.speed, settings.birds) == ("rye", 2.5, ["Berta"])
    assert settings.token.get_secret_value() == "from-secrets"


def test_a_setting_of_a_sink_overrides_the_defaults_of_its_type(folder):
    """From any source."""
    config = folder.load(
        '[defaults.pigeon]\ngrain = "rye"\nspeed = 3\n[sinks.post]\ntype = "pigeon"\nspeed = 4',
        CONNECTOR_DEFAULTS__PIGEON__SPEED="9",
        CONNECTOR_DEFAULTS__PIGEON__TOKEN="shared",
    )
    settings = config.sinks["post"].config
    assert (settings.grain, settings.speed, settings.token.get_secret_value()) == ("rye", 4, "shared")


def test_tables_of_defaults_merge_key_by_key(folder):
    config = folder.load(
        '[defaults.pigeon.loft]\nkeeper = "Ada"\nfloors = [1]\n[sinks.post]\ntype = "pigeon"\nloft.floors = [2]'
    )
    assert config.sinks["post"].config.loft.model_dump() == {"floors": [2], "keeper": "Ada"}


@given(birds=st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=8), max_size=4))
def test_a_list_in_a_variable_is_json(birds):
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "config.toml").write_text('[sinks.post]\ntype = "pigeon"')
        environ = {**SECRET, "CONNECTOR_SINKS__POST__BIRDS": json.dumps(birds)}
        config = load(environ=environ, cwd=Path(name))
    assert config.sinks["post"].config.birds == birds


def test_a_table_of_a_sink_in_a_variable_is_json(folder):
    config = folder.load(
        '[sinks.post]\ntype = "pigeon"', CONNECTOR_SINKS__POST__LOFT='{"floors": [1], "keeper": "Ada"}'
    )
    assert config.sinks["post"].config.loft.model_dump() == {"floors": [1], "keeper": "Ada"}


def test_a_table_of_settings_in_a_variable_is_json(folder):
    """What it does not set comes from the file."""
    config = folder.load("[server]\nport = 81\nhost = '::1'", CONNECTOR_SERVER='{"port": 82}')
    assert (config.server.port, config.server.host) == (82, "::1")


def test_a_number_deep_in_a_sink_stays_text_where_text_is_wanted(folder):
    config = folder.load('[sinks.post]\ntype = "pigeon"', CONNECTOR_SINKS__POST__LOFT__KEEPER="007")
    assert config.sinks["post"].config.loft.keeper == "007"


def test_a_list_for_the_defaults_of_a_type_is_json_too(folder):
    config = folder.load('[sinks.post]\ntype = "pigeon"', CONNECTOR_DEFAULTS__PIGEON__BIRDS='["Berta"]')
    assert config.sinks["post"].config.birds == ["Berta"]


def test_a_list_deep_in_a_sink_is_json_too(folder):
    config = folder.load('[sinks.post]\ntype = "pigeon"', CONNECTOR_SINKS__POST__LOFT__FLOORS="[1, 2]")
    assert config.sinks["post"].config.loft.floors == [1, 2]


def test_a_number_in_a_variable_stays_text_where_text_is_wanted(folder):
    config = folder.load('[sinks.post]\ntype = "pigeon"', CONNECTOR_SINKS__POST__GRAIN="007")
    assert config.sinks["post"].config.grain == "007"


def test_text_for_a_setting_that_takes_both_is_text(folder):
    config = folder.load('[sinks.post]\ntype = "pigeon"', CONNECTOR_SINKS__POST__ROUTE="north")
    assert config.sinks["post"].config.route == "north"


def test_routes_can_come_from_a_variable(folder):
    config = folder.load('[sinks.out]\ntype = "console"', CONNECTOR_ROUTES='[{"sinks": ["out"], "min_score": 4}]')
    assert config.routes[0].min_score == 4


def test_a_sink_can_come_from_variables_alone(folder):
    config = folder.load("", CONNECTOR_SINKS__OUT__TYPE="console", CONNECTOR_SINKS__OUT__MAX_AGE="60")
    assert config.sinks["out"].config.max_age == 60


def test_an_empty_variable_sets_nothing(folder):
    assert folder.load("[server]\nport = 81", CONNECTOR_SERVER__PORT="").server.port == 81


def test_the_case_of_a_variable_does_not_count(folder):
    assert folder.load("", connector_server__port="81").server.port == 81


def test_foreign_variables_in_dotenv_are_ignored(folder):
    folder.write(".env", "# ours and theirs\nOTHER_APP_KEY=x\nexport CONNECTOR_SERVER__PORT='81'\nEMPTY\n")
    assert folder.load("").server.port == 81


def test_a_dollar_sign_in_dotenv_is_kept(folder):
    """A secret may contain one."""
    folder.write(".env", 'CONNECTOR_SINKS__POST__TOKEN="a$HOME$b"\n')
    config = folder.load('[sinks.post]\ntype = "pigeon"')
    assert config.sinks["post"].config.token.get_secret_value() == "a$HOME$b"


def test_a_value_in_dotenv_that_would_be_changed_is_refused(folder):
    """The library replaces ${NAME}; a secret that holds it would silently become another one."""
    folder.write(".env", 'OTHER="${HOME}"\nCONNECTOR_HIREFLIX__WEBHOOK_PATH="/hunter22${NOWHERE}"\n')
    with pytest.raises(ConfigError) as caught:
        folder.load("")
    hint = "set this variable in the environment or in the secrets directory"
    assert str(caught.value) == f".env, line 2: must not contain ${{, which would be replaced ({hint})"


@pytest.mark.parametrize("level", ["WARNING", "CRITICAL"])
def test_a_broken_line_in_dotenv_is_reported_without_its_text(folder, level):
    """Whatever the process logs."""
    logging.getLogger().setLevel(level)
    folder.write(".env", "A=1\nCONNECTOR_STORE__URL='hunter22\n")
    with pytest.raises(ConfigError) as caught:
        folder.load("")
    assert str(caught.value) == ".env, line 2: is not NAME=value (put values with spaces or # in quotes)"


def test_dotenv_cannot_name_the_config_file(folder):
    """It is found beside that file."""
    folder.write(".env", "CONNECTOR_CONFIG=other.toml\n")
    with pytest.raises(ConfigError, match=r"\.env: CONNECTOR_CONFIG has no effect here \(set it in the environment"):
        folder.load("")


def test_a_container_may_be_given_dotenv_as_its_environment(folder):
    folder.write(".env", "CONNECTOR_CONFIG=config.toml\n")
    assert folder.load("", CONNECTOR_CONFIG="config.toml").path == folder.path / "config.toml"


def test_dotenv_may_name_the_secrets_directory(folder):
    folder.write(".env", "CONNECTOR_SECRETS_DIR=run/secrets\n")
    folder.write("run/secrets/CONNECTOR_SERVER__PORT", "81\n")
    folder.write("run/secrets/postgres_password", "theirs\n")
    assert folder.load("").server.port == 81


def test_a_secrets_directory_of_kubernetes_is_read(folder):
    """Its files are links into a hidden folder; a file of another program need not be text."""
    folder.write("secrets/..data/CONNECTOR_SERVER__PORT", "81\n")
    (folder.path / "secrets" / "CONNECTOR_SERVER__PORT").symlink_to("..data/CONNECTOR_SERVER__PORT")
    (folder.path / "secrets" / "keystore.p12").write_bytes(b"\xff\xfe\x00")
    assert folder.load("", CONNECTOR_SECRETS_DIR="secrets").server.port == 81


def test_a_file_in_the_secrets_directory_may_link_to_another_folder(folder):
    (folder.path / "secrets").mkdir()
    (folder.path / "secrets" / "connector_server__port").symlink_to(folder.write("vault/port", "81"))
    assert folder.load("", CONNECTOR_SECRETS_DIR="secrets").server.port == 81


def test_a_configured_secrets_directory_must_exist(folder):
    with pytest.raises(ConfigError, match="CONNECTOR_SECRETS_DIR: the folder is missing"):
        folder.load("", CONNECTOR_SECRETS_DIR="nowhere")


def test_a_secret_that_is_not_text_is_reported(folder):
    (folder.path / "secrets").mkdir()
    (folder.path / "secrets" / "connector_server__host").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError) as caught:
        folder.load("", CONNECTOR_SECRETS_DIR="secrets")
    assert str(caught.value) == "connector_server__host: cannot be read (UnicodeDecodeError)"


def test_a_problem_names_the_layer_it_comes_from(folder):
    folder.write(".env", "CONNECTOR_SERVER__PORT=x\n")
    folder.write("secrets/connector_logs__level", "loud")
    with pytest.raises(ConfigError) as caught:
        folder.load("", CONNECTOR_SECRETS_DIR="secrets")
    assert [problem.hint for problem in caught.value.problems] == [
        "set by CONNECTOR_SERVER__PORT in .env",
        "set by CONNECTOR_LOGS__LEVEL in the secrets directory",
    ]


def test_a_variable_with_a_table_is_not_blamed_for_a_value_of_the_file(folder):
    with pytest.raises(ConfigError) as caught:
        folder.load("[sinks.out]\nmax_age = -1", CONNECTOR_SINKS='{"out": {"type": "console"}}')
    assert str(caught.value) == "sinks.out.max_age: must be greater than 0"


def test_a_variable_with_a_table_is_named_for_a_value_in_it(folder):
    with pytest.raises(ConfigError) as caught:
        folder.load("", CONNECTOR_SINKS='{"out": {"type": "console", "max_age": -1}}')
    assert str(caught.value) == "sinks.out.max_age: must be greater than 0 (set by CONNECTOR_SINKS)"


@pytest.mark.parametrize("variable", ["CONNECTOR_SERVR__PORT", "CONNECTOR_SERVER__PROT"])
@pytest.mark.parametrize("place", ["environment", ".env", "secrets"])
def test_an_unknown_name_is_refused_wherever_it_is_set(folder, variable, place):
    if place == "environment":
        environ = {variable: "hunter22"}
    else:
        folder.write(
            ".env" if place == ".env" else f"secrets/{variable}",
            "hunter22" if place == "secrets" else f"{variable}=hunter22\n",
        )
        environ = {"CONNECTOR_SECRETS_DIR": "secrets"} if place == "secrets" else {}
    with pytest.raises(ConfigError, match=f"unknown setting .*set by {variable}") as caught:
        folder.load("", **environ)
    assert "hunter22" not in str(caught.value)
