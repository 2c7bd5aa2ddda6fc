"""`check`: problems, warnings, and with --online what each destination answers."""

import sqlite3
import sys
from contextlib import closing

import pytest

from tests.cli.world import body

FRIENDS = """
from connector.errors import SinkBroken
from connector.sink import Finding, Sink, SinkConfig


class Friend(Sink[SinkConfig]):
    Config = SinkConfig
    timeout = 0.05
    log = []

    async def deliver(self, batch, context):
        raise NotImplementedError

    async def open(self):
        self.log.append(f"open {self.name}")

    async def close(self):
        self.log.append(f"close {self.name}")


class Kind(Friend):
    async def check_connection(self):
        return [Finding("ok", "may write"), Finding("warning", "is slow", "ask for more")]


class Strict(Friend):
    async def check_connection(self):
        return [Finding("problem", "may not write\\x1b[2J", "share the sheet with bot@example.com")]


class Broken(Friend):
    async def check_connection(self):
        raise SinkBroken("the token is revoked", "make a new token")


class Silent(Friend):
    async def check_connection(self):
        import asyncio

        await asyncio.Event().wait()


class Torn(Friend):
    def validate(self):
        return [Finding("problem", "the key is torn\\x1b[2J", "glue it")]


class Clumsy(Friend):
    def validate(self):
        raise KeyError("personal@example.com")


class Faulty(Friend):
    async def check_connection(self):
        raise KeyError("personal@example.com")
"""
TYPES = ("Friend", "Kind", "Strict", "Broken", "Silent", "Torn", "Clumsy", "Faulty")


@pytest.fixture
def third_party(tmp_path):
    """Installs types of sinks of another author: `kind`, `strict` and so on. Returns the calls that they got."""
    folder = tmp_path / "site"
    info = folder / "third_party-1.0.dist-info"
    info.mkdir(parents=True)
    (folder / "friends_sinks.py").write_text(FRIENDS)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: third_party\nVersion: 1.0\n")
    points = "".join(f"{name.lower()} = friends_sinks:{name}\n" for name in TYPES)
    (info / "entry_points.txt").write_text(f"[connector.sinks]\n{points}")
    before = list(sys.path)
    sys.path.insert(0, str(folder))
    yield lambda: sys.modules["friends_sinks"].Friend.log
    sys.path[:] = before
    sys.modules.pop("friends_sinks", None)


@pytest.fixture
def with_sinks(config, third_party):
    """Configures one sink of each of these types, named as its type."""

    def write(*kinds):
        sinks = "".join(f'[sinks.{kind}]\ntype = "{kind}"\n' for kind in kinds)
        config.write_text(
            f'[hireflix]\nwebhook_secrets = ["hush-hush"]\n{sinks}\n[store]\nurl = "sqlite:///connector.db"'
        )

    return write


def test_a_good_configuration_says_what_it_is(run, config):
    result = run("check")
    assert result.exit_code == 0
    assert f"ok        {config}" in result.stdout
    assert f"ok        sinks.sheet: workbook, {config.parent / 'sheet.xlsx'}" in result.stdout
    assert "hush-hush" not in result.output


def test_it_makes_no_store(run, config):
    run("check")
    assert [entry.name for entry in config.parent.iterdir()] == ["config.toml"]


def test_the_danger_of_unsigned_webhooks_is_reported(run, config):
    config.write_text(config.read_text().replace('webhook_secrets = ["hush-hush"]', "allow_unsigned = true"))
    result = run("check")
    assert result.exit_code == 0
    assert "warning   hireflix.allow_unsigned: " in result.stdout
    assert "→ set webhook_secrets" in result.stdout


def test_a_position_that_no_route_takes_is_reported_once_it_was_seen(run, world, config):
    """A warning is not a failure: the route may be missing on purpose."""
    config.write_text(
        config.read_text().replace('sinks = ["sheet", "chat"]', 'positions = ["Cook"]\nsinks = ["sheet", "chat"]')
    )
    world.receive(body(position={"id": "p-9", "name": "Baker"}))
    result = run("check")
    assert result.exit_code == 0
    assert "no route matches the position 'Baker' (p-9)" in result.stdout


def test_without_online_no_destination_is_asked(run, with_sinks, third_party):
    with_sinks("strict")
    assert run("check").exit_code == 0
    assert third_party() == []


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("torn", ["the key is torn\ufffd[2J", "glue it"]),
        ("clumsy", ["the check failed: KeyError at friends_sinks", "report this to the author of the sink"]),
    ],
)
def test_what_a_sink_sees_on_this_machine_is_reported_without_asking_its_destination(run, with_sinks, kind, says):
    """The command fails, does not call that sink ok, and checks the others."""
    with_sinks(kind, "kind")
    result = run("check")
    assert result.exit_code == 1
    problem, fix = says
    assert f"problem   sinks.{kind}: {problem}" in result.stdout
    assert f"→ {fix}" in result.stdout
    assert f"ok        sinks.{kind}:" not in result.stdout
    assert "ok        sinks.kind: kind, kind" in result.stdout
    assert "personal@example.com" not in result.output


def test_the_key_of_a_google_sheet_is_read(run, config):
    """A missing file is reported without a call to Google."""
    sheet = (
        '[sinks.sheet]\ntype = "google_sheets"\nspreadsheet = "1AbCdEfGhIjKlMnOpQrSt"\ncredentials_file = "key.json"\n'
    )
    config.write_text(f'[hireflix]\nwebhook_secrets = ["hush-hush"]\n{sheet}')
    result = run("check")
    assert result.exit_code == 1
    assert "problem   sinks.sheet: the file key.json cannot be read (No such file or directory)" in result.stdout


def test_a_store_on_a_server_is_asked_only_when_wanted(run, config):
    """Its address is printed without user and password."""
    config.write_text(config.read_text().replace("sqlite:///connector.db", "postgresql://u:hidden@/n?host=/nowhere"))
    assert "ok        store: postgresql:///n?host=/nowhere\n" in run("check").stdout
    result = run("check", "--online")
    assert result.exit_code == 1
    assert "ok        store" not in result.stdout
    assert (
        "problem   store: the store postgresql:///n?host=/nowhere cannot be used now: no server answers"
        in result.stdout
    )
    assert "→ check that the database runs, and the address, the user and the name in [store] url" in result.stdout
    assert "ok        sheet:" in result.stdout
    assert "hidden" not in result.output


@pytest.mark.parametrize("store_url", ["postgres"], indirect=True)
def test_a_position_that_a_store_on_a_server_has_seen_is_reported_as_well(run, world, config):
    config.write_text(
        config.read_text().replace('sinks = ["sheet", "chat"]', 'positions = ["Cook"]\nsinks = ["sheet", "chat"]')
    )
    world.receive(body(position={"id": "p-9", "name": "Baker"}))
    assert "no route matches the position 'Baker' (p-9)" in run("check", "--online").stdout


def test_what_every_destination_says_is_reported_in_order(run, with_sinks):
    with_sinks("kind", "friend")
    result = run("check", "--online")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[-4:] == [
        "ok        kind: may write",
        "warning   kind: is slow",
        "          → ask for more",
        "ok        friend: this type of sink has no online check",
    ]


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("strict", ["may not write\ufffd[2J", "share the sheet with bot@example.com"]),
        ("broken", ["the token is revoked", "make a new token"]),
        ("silent", ["no answer within 0.05 s", "check the network between this machine and the destination"]),
        ("faulty", ["the check failed: KeyError at friends_sinks", "report this to the author of the sink"]),
    ],
)
def test_a_problem_is_reported_with_its_fix_and_fails(run, with_sinks, third_party, kind, says):
    """In every form of failure. The other sinks are checked, and every sink is closed."""
    with_sinks(kind, "kind")
    result = run("check", "--online")
    assert result.exit_code == 1
    problem, fix = says
    assert f"problem   {kind}: {problem}" in result.stdout
    assert f"→ {fix}" in result.stdout
    assert "ok        kind: may write" in result.stdout
    assert "personal@example.com" not in result.output
    assert sorted(third_party()) == sorted(f"{act} {name}" for act in ("open", "close") for name in (kind, "kind"))


def store_at(config, url):
    """The same configuration with another store."""
    config.write_text(config.read_text().replace('url = "sqlite:///connector.db"', f'url = "{url}"'))


def test_a_sink_that_no_route_names_is_checked_as_well(run, config, third_party):
    config.write_text(config.read_text() + '\n[sinks.idle]\ntype = "torn"\n[sinks.spare]\ntype = "kind"\n')
    result = run("check")
    assert result.exit_code == 1
    assert "problem   sinks.idle: the key is torn" in result.stdout
    assert "ok        sinks.spare: kind, spare" in result.stdout
    assert "warning   sinks.idle: no route names this sink: it is not started" in result.stdout


def test_a_store_that_does_not_exist_yet_is_fine(run, config):
    assert f"ok        store: {config.parent / 'connector.db'}, created by the first" in run("check").stdout


def test_a_store_of_this_version_is_fine(run, world, config):
    assert f"ok        store: {config.parent / 'connector.db'}\n" in run("check").stdout


def test_the_folder_of_the_store_must_be_writable(run, config):
    """/proc refuses files even of root."""
    store_at(config, "sqlite:////proc/connector/data.db")
    result = run("check")
    assert result.exit_code == 1
    assert "problem   store: the folder /proc is not writable (" in result.stdout
    assert "→ give the user that runs the connector write permission, or change [store] url" in result.stdout


def test_a_file_where_the_folder_of_the_store_should_be_is_named(run, config):
    store_at(config, "sqlite:///config.toml/data.db")
    result = run("check")
    assert result.exit_code == 1
    assert f"problem   store: the folder {config} is not writable (Not a directory)" in result.stdout


def test_a_store_that_is_a_folder_is_named(run, config):
    (config.parent / "connector.db").mkdir()
    result = run("check")
    assert result.exit_code == 1
    assert f"problem   store: {config.parent / 'connector.db'} is a folder" in result.stdout


def test_a_store_that_is_not_a_database_is_named_and_kept(run, config):
    file = config.parent / "connector.db"
    file.write_text("Dear diary, " * 1000)
    result = run("check")
    assert result.exit_code == 1
    assert "cannot be opened: file is not a database (name another file); see [store] url" in result.stdout
    assert "ok        sinks.chat" in result.stdout
    assert file.read_text() == "Dear diary, " * 1000


def test_a_database_of_another_program_is_named(run, config):
    with closing(sqlite3.connect(config.parent / "connector.db")) as connection:
        connection.execute("CREATE TABLE recipe (title TEXT)")
    result = run("check")
    assert result.exit_code == 1
    assert "problem   store: the file is a database of something else" in result.stdout


def stamp(config, revision):
    """Marks the store as one of another version."""
    with closing(sqlite3.connect(config.parent / "connector.db")) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", [revision])


def test_the_store_of_an_older_version_is_a_warning_because_serve_updates_it(run, world, config):
    world.close()
    stamp(config, "0000")
    result = run("check")
    assert result.exit_code == 0
    assert f"warning   store: {config.parent / 'connector.db'} has schema 0000" in result.stdout
    assert "→ the next `connector serve` copies the file and updates it" in result.stdout


def test_the_store_of_a_newer_version_is_a_problem(run, world, config):
    world.close()
    stamp(config, "9999")
    result = run("check")
    assert result.exit_code == 1
    assert "problem   store: the store's schema is 9999" in result.stdout
