"""Where the configuration is looked for, and what it is once it was read."""

import stat
from pathlib import Path

import pytest

from connector.config import ensure_secret, load
from connector.errors import ConfigError
from connector.routing import Route
from connector.sink import Stage


def test_the_usual_file_is_in_the_working_folder(folder):
    config = folder.load("[server]\nport = 81")
    assert (config.path, config.folder, config.server.port) == (folder.path / "config.toml", folder.path, 81)


def test_a_variable_names_another_file(folder):
    folder.write("etc/other.toml", "[server]\nport = 82")
    config = folder.load("[server]\nport = 81", CONNECTOR_CONFIG="etc/other.toml")
    assert (config.folder, config.server.port) == (folder.path / "etc", 82)


def test_the_path_given_beats_the_variable(folder):
    file = folder.write("mine.toml", "[server]\nport = 83")
    assert folder.load(path=file, CONNECTOR_CONFIG="other.toml").server.port == 83


def test_a_file_that_was_named_must_be_there(folder):
    with pytest.raises(ConfigError, match="the config file is missing"):
        folder.load(CONNECTOR_CONFIG="nowhere.toml")


def test_a_file_in_the_home_folder_of_an_unknown_user_is_missing(folder):
    with pytest.raises(ConfigError, match="the config file is missing"):
        folder.load(CONNECTOR_CONFIG="~no-such-user/config.toml")


def test_a_byte_order_mark_does_no_harm(folder):
    (folder.path / "config.toml").write_bytes(b"\xef\xbb\xbf[server]\nport = 81\n")
    assert folder.load().server.port == 81


def test_a_file_that_is_not_utf8_is_reported_with_its_line(folder):
    (folder.path / "config.toml").write_bytes(b'timezone = "UTC"\n# caf\xe9\n')
    with pytest.raises(ConfigError, match=r"config\.toml, line 2: is not UTF-8 text"):
        folder.load()


def test_paths_count_from_the_folder_of_the_file(folder):
    file = folder.write(
        "etc/config.toml", '[store]\nurl = "sqlite:///db/x.db"\n[sinks.post]\ntype = "pigeon"\nmap = "m.txt"'
    )
    config = folder.load(path=file)
    assert config.store.file == folder.path / "etc" / "db" / "x.db"
    assert config.store.url.get_secret_value() == f"sqlite:///{folder.path}/etc/db/x.db"
    assert config.sinks["post"].config.map == folder.path / "etc" / "m.txt"


def test_the_default_store_is_in_the_data_folder(folder):
    config = folder.load("")
    assert config.store.file == config.data_folder / "connector.db" == folder.path / "data" / "connector.db"


def test_an_absolute_store_stays(folder):
    assert str(folder.load('[store]\nurl = "sqlite:////var/lib/c.db"').store.file) == "/var/lib/c.db"


def test_a_store_may_be_in_the_home_folder(folder):
    assert folder.load('[store]\nurl = "sqlite:///~/c.db"').store.file == Path.home() / "c.db"


def test_a_postgresql_store_has_no_file(folder):
    store = folder.load("", CONNECTOR_STORE__URL="postgresql://me:hunter22@db/hiring").store
    assert store.file is None
    assert store.url.get_secret_value() == "postgresql://me:hunter22@db/hiring"


def test_no_secret_is_shown(folder):
    config = folder.load(
        '[sinks.post]\ntype = "pigeon"\ntoken = "hunter22"\nrings = ["hunter22"]',
        secret={"CONNECTOR_HIREFLIX__WEBHOOK_SECRETS": '["hunter22"]'},
        CONNECTOR_DEFAULTS__PIGEON__TOKEN="hunter22",
        CONNECTOR_STORE__URL="postgresql://me:hunter22@db/hiring",
    )
    assert "hunter22" not in f"{config!r} {config!s}"


def test_spaces_around_a_secret_do_not_count(folder):
    secrets = folder.load("", secret={"CONNECTOR_HIREFLIX__WEBHOOK_SECRETS": '["abc\\n"]'}).hireflix.webhook_secrets
    assert secrets[0].get_secret_value() == "abc"


def test_a_sink_has_the_time_zone_of_the_whole_unless_it_says_otherwise(folder):
    config = folder.load(
        'timezone = "Asia/Tokyo"\n[sinks.a]\ntype = "console"\n[sinks.b]\ntype = "console"\ntimezone = "Europe/Madrid"'
    )
    assert [entry.config.timezone for entry in config.sinks.values()] == ["Asia/Tokyo", "Europe/Madrid"]


def test_a_sink_has_the_language_of_the_whole_unless_it_says_otherwise(folder):
    config = folder.load('language = "es"\n[sinks.a]\ntype = "console"\n[sinks.b]\ntype = "console"\nlanguage = "en"')
    assert [entry.config.language for entry in config.sinks.values()] == ["es", "en"]


def test_a_language_without_a_catalogue_is_a_problem_at_its_place(folder):
    with pytest.raises(ConfigError) as caught:
        folder.load('language = "xx"\n[sinks.a]\ntype = "console"\nlanguage = "yy"')
    found = {problem.place: problem.message for problem in caught.value.problems}
    assert found == {"language": "must be one of en, es", "sinks.a.language": "must be one of en, es"}


def test_sinks_keep_their_order_name_type_and_former_name(folder):
    config = folder.load('[sinks.zeta]\ntype = "console"\nrenamed_from = "omega"\n[sinks.alpha]\ntype = "pigeon"')
    found = [(entry.name, entry.type, entry.cls.__name__, entry.renamed_from) for entry in config.sinks.values()]
    assert found == [("zeta", "console", "Console", "omega"), ("alpha", "pigeon", "Pigeon", None)]


def test_without_routes_every_sink_gets_everything(folder):
    config = folder.load('[sinks.a]\ntype = "console"\n[sinks.b]\ntype = "blackboard"')
    assert config.routes == ()
    assert config.routing().match("interview.finish", "p", "Sales", Stage.PENDING, None) == ("a", "b")


def test_routes_are_read_whole(folder):
    config = folder.load("""
        [sinks.out]
        type = "console"
        [[routes]]
        sinks = ["out"]
        positions = ["Sales *"]
        events = ["interview.finish"]
        stages = ["to_evaluate"]
        min_score = 3.5
        [[routes]]
        sinks = ["out"]
        otherwise = true
    """)
    assert config.routes == (
        Route(("out",), ("Sales *",), ("interview.finish",), (Stage.TO_EVALUATE,), 3.5),
        Route(("out",), otherwise=True),
    )


def test_a_sink_that_no_route_names_is_read_and_does_not_run(folder):
    config = folder.load('[sinks.a]\ntype = "console"\n[sinks.b]\ntype = "pigeon"\n[[routes]]\nsinks = ["a"]')
    assert list(config.sinks) == ["a"]
    assert {name: entry.type for name, entry in config.unrouted.items()} == {"b": "pigeon"}


def test_unsigned_webhooks_may_be_allowed_instead_of_a_secret(folder):
    assert folder.load("[hireflix]\nallow_unsigned = true", secret={}).hireflix.webhook_secrets == []


def test_without_a_file_the_embedded_default_runs(tmp_path):
    config = load(environ={}, cwd=tmp_path)
    assert config.embedded
    assert config.path is None
    assert {name: entry.type for name, entry in config.sinks.items()} == {"workbook": "workbook", "console": "console"}
    assert config.sinks["workbook"].config.path == tmp_path / "data" / "interviews.xlsx"


def test_variables_override_the_embedded_default(tmp_path):
    config = load(environ={"CONNECTOR_SERVER__PORT": "81", "CONNECTOR_SINKS__CONSOLE__MAX_AGE": "5"}, cwd=tmp_path)
    assert (config.server.port, config.sinks["console"].config.max_age) == (81, 5)


def test_loading_does_not_change_the_embedded_default(tmp_path):
    load(environ={"CONNECTOR_SINKS__CONSOLE__MAX_AGE": "5"}, cwd=tmp_path)
    assert load(environ={}, cwd=tmp_path).sinks["console"].config.max_age == 86_400


def test_loading_makes_no_file(tmp_path):
    assert load(environ={}, cwd=tmp_path).hireflix.webhook_secrets == []
    assert list(tmp_path.iterdir()) == []


def test_the_embedded_default_makes_its_secret_once(tmp_path):
    made = ensure_secret(load(environ={}, cwd=tmp_path))
    file = tmp_path / "data" / "webhook-secret"
    assert made.hireflix.webhook_secrets[0].get_secret_value() == file.read_text().strip()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    again = load(environ={}, cwd=tmp_path)
    assert again.hireflix.webhook_secrets == made.hireflix.webhook_secrets
    assert ensure_secret(again) == again


def test_a_secret_that_was_set_is_kept(folder):
    config = folder.load()
    assert ensure_secret(config) == config
    assert not config.data_folder.exists()


def test_with_a_file_no_secret_is_made(folder):
    config = folder.load("[hireflix]\nallow_unsigned = true", secret={})
    assert ensure_secret(config) == config
    assert not config.data_folder.exists()


SHEET = '[sinks.board]\ntype = "google_sheets"\nspreadsheet = "1AbCdEfGhIjKlMnOpQrSt"\nauth = "default"\n'


def test_a_key_of_a_sheet_that_signs_in_without_one_is_refused(folder):
    with pytest.raises(ConfigError, match="credentials_file and credentials have no effect"):
        folder.load(SHEET + 'credentials_file = "key.json"')


def test_a_key_in_the_defaults_is_for_the_other_sheets(folder):
    config = folder.load('[defaults.google_sheets]\ncredentials_file = "key.json"\n' + SHEET)
    assert config.sinks["board"].config.auth == "default"
