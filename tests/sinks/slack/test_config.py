"""The settings, and the errors of wrong ones."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from sinks.slack import SlackSink
from sinks.slack.config import SlackConfig

TOKEN = "xoxb-123-456-abcDEF"
HOOK = "https://hooks.slack.com/services/T0/B0/verysecret"


def messages(**settings: object) -> str:
    with pytest.raises(ValidationError) as error:
        SlackConfig(**settings)
    return str(error.value)


def test_token_and_channel_are_enough() -> None:
    config = SlackConfig(token=TOKEN, channel="C0123456789")
    assert (config.api_url, config.rate_per_second, config.max_age) == ("https://slack.com/api/", 1.0, 86_400.0)
    assert config.privacy == "full"


def test_the_default_is_quiet() -> None:
    """A finish notifies, changes are replies, invitations are counted in the digest, and deletions post nothing."""
    events = SlackConfig(token=TOKEN, channel="C0123456789").events
    names = ("create", "finish", "score-updated", "status-change", "delete", "unheard-of")
    modes = [events.of(f"interview.{name}") for name in names]
    assert modes == ["digest", "broadcast", "reply", "reply", "edit", "silent"]


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"templates": {"header": "{{ nam }}"}}, "'nam' is undefined; it may show completed, emoji"),
        ({"templates": {"header": "{{ name"}}, "header: TemplateSyntaxError"),
        ({"templates": {"reply": "{{ name }}"}}, "'name' is undefined"),
        ({"templates": {"digest": "{{ name }}"}}, "'name' is undefined"),
        ({"templates": {"header": "{{ ''.__class__.__mro__ }}"}}, "unsafe"),
        ({"templates": {"header": "{{ 1 / 0 }}"}}, "it fails with ZeroDivisionError"),
        ({"templates": {"header": " "}}, "it renders nothing"),
        ({"templates": {"fields": [{"label": "X", "value": "{{ x }}"}]}}, "fields, X: UndefinedError"),
        ({"templates": {"fields": [{"label": "X", "value": "x"}] * 6}}, "fields"),
        ({"quiet_hours": {"start": "25:00"}}, "quiet_hours.start"),
        ({"quiet_hours": {"days": ["someday"]}}, "quiet_hours.days"),
        ({"mentions": [{"who": "@everybody"}]}, "Copy member ID"),
        ({"mentions": [{"who": "<!here>"}]}, "Copy member ID"),
        ({"events": {"delete": "silent"}}, "events.delete"),
    ],
)
def test_what_would_go_wrong_later_is_said_at_once(setting: dict, said: str) -> None:
    assert said in messages(token=TOKEN, channel="C0123456789", **setting)


def test_a_webhook_cannot_replace_a_message_that_users_deleted() -> None:
    assert "`deleted_message` needs a bot token" in messages(webhook_url=HOOK, deleted_message="replace")


def test_good_templates_are_taken() -> None:
    fields = [{"label": "Since", "value": "{{ invited }}"}]
    templates = {"header": "{{ name|upper }}", "fields": fields, "reply": "→ {{ change }}", "digest": "{{ invited }}"}
    config = SlackConfig(token=TOKEN, channel="C0123456789", templates=templates)
    assert config.templates.fields[0].label == "Since"


def test_a_webhook_alone_is_enough_even_beside_a_common_token() -> None:
    assert SlackConfig(webhook_url=HOOK).token is None
    assert SlackConfig(webhook_url=HOOK, token=TOKEN).channel is None


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "needs `token` and `channel`, or `webhook_url`"),
        ({"token": TOKEN}, "needs `channel`"),
        ({"channel": "C0123456789"}, "needs `token`; set CONNECTOR_DEFAULTS__SLACK__TOKEN"),
        ({"webhook_url": HOOK, "channel": "C0123456789"}, "`channel` has no effect with `webhook_url`"),
        ({"token": "xoxp-1-2", "channel": "C0123456789"}, "starts with xoxb-"),
        ({"token": f"{TOKEN}\n", "channel": "C0123456789"}, "starts with xoxb-"),
        ({"token": TOKEN, "channel": "#recruiting"}, "must be a channel id such as C0123456789, not a name"),
        ({"token": TOKEN, "channel": "recruiting"}, "must be a channel id"),
        ({"token": TOKEN, "channel": "C0123456789", "api_url": "http://slack.com/api/"}, "must be an https:// address"),
        ({"webhook_url": "http://hooks.slack.com/x"}, "must be an https:// address"),
        ({"token": TOKEN, "channel": "C0123456789", "privacy": "some"}, "privacy"),
        ({"token": TOKEN, "channel": "C0123456789", "events": {"finished": "post"}}, "events.finished"),
        ({"token": TOKEN, "channel": "C0123456789", "link_hosts": ["https://hireflix.com"]}, "bare host name"),
        ({"token": TOKEN, "channel": "C0123456789", "rate_per_second": 0}, "rate_per_second"),
        ({"token": TOKEN, "channel": "C0123456789", "chanel": "x"}, "chanel"),
    ],
)
def test_bad_settings_are_refused_with_what_to_do(settings: dict, said: str) -> None:
    assert said in messages(**settings)


@pytest.mark.parametrize("settings", [{"token": "xoxb-secret!"}, {"webhook_url": "http://x/secret"}, {"token": TOKEN}])
def test_no_secret_is_in_an_error(settings: dict) -> None:
    assert "secret" not in messages(**settings)
    assert TOKEN not in messages(**settings)


def test_every_setting_is_described() -> None:
    own = SlackConfig.model_fields.keys() - {"timezone", "language"}
    assert [name for name in own if not SlackConfig.model_fields[name].description] == []


def test_the_destination_is_the_channel() -> None:
    assert SlackSink("one", SlackConfig(token=TOKEN, channel="C0123456789")).destination == "C0123456789"


def test_the_destination_of_a_webhook_shows_its_host_only() -> None:
    destination = SlackSink("one", SlackConfig(webhook_url=HOOK)).destination
    assert destination.startswith("hooks.slack.com#")
    assert "verysecret" not in destination


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"decisions": {"deciders": []}}, "decisions.deciders"),
        ({"decisions": {"deciders": ["@here"]}}, "Copy member ID"),
        ({"decisions": {"deciders": ["U0123456789"]}}, "`decisions` needs `app_token`"),
        ({"app_token": "xoxb-1-2"}, "must be an app-level token, which starts with xapp-"),
    ],
)
def test_decisions_need_deciders_and_an_app_level_token(settings: dict, said: str) -> None:
    assert said in messages(token=TOKEN, channel="C0123456789", **settings)


def test_a_webhook_has_no_buttons_for_decisions() -> None:
    decisions = {"deciders": ["U0123456789"]}
    assert "`decisions` needs a bot token" in messages(webhook_url=HOOK, app_token="xapp-1", decisions=decisions)
