"""Settings that are valid but probably a mistake are reported, and only those."""

import re

import pytest

from connector.config import position_warnings
from connector.errors import ConfigError

CHAT = '[sinks.chat]\ntype = "console"\n'
ALL = '[[routes]]\nsinks = ["chat"]\n'


def warnings(folder, toml):
    return [str(problem) for problem in folder.load(toml).warnings]


@pytest.mark.parametrize(
    "toml",
    [
        CHAT,
        CHAT + ALL,
        CHAT + '[[routes]]\nsinks = ["chat"]\nmin_score = 3\nevents = ["interview.score-updated"]',
        CHAT + '[[routes]]\nsinks = ["chat"]\npositions = ["Sales"]',
        CHAT + '[[routes]]\nsinks = ["chat"]\npositions = ["Sales *"]\n[[routes]]\nsinks = ["chat"]\notherwise = true',
        '[sinks.a]\ntype = "pigeon"\nloft.keeper = "Ada"\n[sinks.b]\ntype = "pigeon"\nloft.keeper = "Bob"',
        '[sinks.a]\ntype = "pigeon"\nloft.keeper = "Ada"\n[sinks.b]\ntype = "blackboard"\nloft.keeper = "Ada"',
    ],
)
def test_an_ordinary_configuration_has_no_warning(folder, toml):
    assert warnings(folder, toml) == []


def test_a_sink_without_a_route(folder):
    reported = warnings(folder, CHAT + '[sinks.idle]\ntype = "console"\n' + ALL)
    assert reported == ["sinks.idle: no route names this sink: it is not started (name it in a route)"]


def test_a_sink_of_alerts_needs_no_route(folder):
    assert warnings(folder, CHAT + '[sinks.ops]\ntype = "console"\n' + ALL + '[alerts]\nsinks = ["ops"]') == []


def test_a_password_of_a_mail_server_without_encryption(folder):
    mail = (
        '[alerts.email]\nhost = "{}"\nsecurity = "none"\nsender = "a@b.org"\nrecipients = ["a@b.org"]\npassword = "x"'
    )
    (reported,) = warnings(folder, CHAT + mail.format("mail.example.org"))
    assert reported.startswith("alerts.email.security: the password goes to the mail server without encryption")
    assert warnings(folder, CHAT + mail.format("localhost")) == []


def test_no_sink_at_all(folder):
    assert warnings(folder, "") == [
        "sinks: no sink is configured: events are stored and not delivered (add a [sinks.NAME])"
    ]


def test_a_class_that_cannot_name_its_destination_is_reported_with_the_place_and_without_secrets(folder):
    with pytest.raises(ConfigError) as caught:
        warnings(folder, '[sinks.a]\ntype = "pigeon"\ntoken = "s3cr3t-t0ken"\nloft.keeper = "unknown"')
    [problem] = caught.value.problems
    assert (problem.place, problem.hint) == ("sinks.a", "correct that class, or ask its author")
    assert re.search(r"the class Pigeon failed: KeyError in \S+pigeon_sinks\.py, line \d+$", problem.message)


def test_two_sinks_for_one_destination(folder):
    table = '[sinks.{}]\ntype = "blackboard"\nloft.keeper = "Ada"\n'
    reported = warnings(folder, table.format("one") + table.format("two"))
    assert reported == ["sinks.two: writes the same destination as one (remove one of them)"]


def test_a_least_score_without_events(folder):
    reported = warnings(folder, CHAT + '[[routes]]\nsinks = ["chat"]\nmin_score = 4')
    assert [line.split(":")[0] for line in reported] == ["routes[0].min_score"]


def test_unsigned_webhooks(folder):
    reported = warnings(folder, CHAT + "[hireflix]\nallow_unsigned = true")
    assert reported[0].startswith("hireflix.allow_unsigned: webhooks without a signature are accepted")


def test_fields_of_the_api_need_an_api_key(folder):
    reported = warnings(folder, CHAT + '[hireflix]\nenrich = ["comments"]')
    assert [text for text in reported if text.startswith("hireflix.enrich")] == [
        "hireflix.enrich: these fields are not read without an API key (set hireflix.api_key)"
    ]


def test_decisions_without_an_api_key(folder):
    sheet = (
        '[sinks.sheet]\ntype = "google_sheets"\nspreadsheet = "1AbCdEfGhIjKlMnOpQrSt"\ncredentials_file = "key.json"\n'
    )
    reported = warnings(folder, f'{sheet}decision_column = "Decision"')
    assert reported[0].startswith("sinks.sheet: users decide there, and decisions cannot be sent to Hireflix")
    assert warnings(folder, sheet) == []
    chat = '[sinks.chat]\ntype = "slack"\ntoken = "xoxb-1"\napp_token = "xapp-1"\nchannel = "C0123456789"\n'
    reported = warnings(folder, f'{chat}decisions = {{ deciders = ["U0123456789"] }}')
    assert reported[0].startswith("sinks.chat: users decide there")


def test_an_event_that_hireflix_does_not_send(folder):
    reported = warnings(folder, CHAT + '[[routes]]\nsinks = ["chat"]\nevents = ["candidate.hired"]')
    assert reported == ["routes[0].events: Hireflix sends no event 'candidate.hired': it never matches"]


def test_a_position_by_name_beside_otherwise_is_reported(folder):
    reported = warnings(
        folder,
        CHAT + '[[routes]]\nsinks = ["chat"]\npositions = ["Sales"]\n[[routes]]\nsinks = ["chat"]\notherwise = true',
    )
    problem = "routes[0].positions: once 'Sales' is renamed, its events go to the route with `otherwise`"
    assert reported == [f"{problem} (use the id of the position)"]


@pytest.mark.parametrize(
    ("name", "mode", "warned"),
    [
        (".env", 0o600, None),
        (".env", 0o640, None),
        (".env", 0o644, "every user of this machine can read the secrets in it"),
        (".env", 0o602, "every user of this machine can change it"),
        ("key.json", 0o604, "every user of this machine can read the secrets in it"),
        ("config.toml", 0o644, None),
        ("config.toml", 0o666, "every user of this machine can change it"),
    ],
)
def test_a_file_with_secrets_that_others_can_read_or_that_they_can_change(folder, name, mode, warned):
    sheet = '[sinks.sheet]\ntype = "google_sheets"\nspreadsheet = "1AbC_d-2EfGhIjKlMnOpQrStUvWxYz0123456789"\n'
    folder.write("config.toml", sheet + 'credentials_file = "key.json"\n')
    file = folder.path / name
    file.touch()
    file.chmod(mode)
    expected = [] if warned is None else [f"{name}: {warned} (chmod o-rwx {file})"]
    assert [str(problem) for problem in folder.load().warnings] == expected


def test_a_position_that_no_route_takes(folder):
    config = folder.load(CHAT + '[[routes]]\nsinks = ["chat"]\npositions = ["Sales *"]\nmin_score = 5\nevents = []')
    reported = position_warnings(config, [("id-1", "Sales Madrid"), ("id-2", "Support")])
    assert [problem.message for problem in reported] == ["no route matches the position 'Support' (id-2)"]


def test_a_route_with_otherwise_takes_every_position_it_names(folder):
    config = folder.load(CHAT + '[[routes]]\nsinks = ["chat"]\notherwise = true')
    assert position_warnings(config, [("id-1", "Sales")]) == []


@pytest.mark.parametrize(
    ("url", "warned"),
    [
        ("postgresql://u:p@db.example.org/c", True),
        ("postgresql://u:p@db.example.org/c?sslmode=prefer", True),
        ("postgresql://u:p@127.0.0.1,10.0.0.5/c", True),
        ("postgresql://u:p@10.0.0.5:5432/c?sslmode=require", False),
        ("postgresql://u:p@db.example.org/c?sslmode=verify-full", False),
        ("postgresql://u:p@localhost/c", False),
        ("postgresql://u:p@127.0.0.1:5433/c", False),
        ("postgresql://u:p@[::1]:5433/c", False),
        ("postgresql:///c?host=/run/postgresql", False),
        ("postgresql:///c?host=db.example.org", True),
        ("postgresql://u@%2Frun%2Fpostgresql/c", False),
        ("sqlite:///connector.db", False),
    ],
)
def test_a_database_on_another_machine_without_tls(folder, monkeypatch, url, warned):
    monkeypatch.delenv("PGSSLMODE", raising=False)
    places = [problem.place for problem in folder.load(f'[store]\nurl = "{url}"\n' + CHAT).warnings]
    assert places == (["store.url"] if warned else [])
