"""Settings, and the sentences that refuse bad ones."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from sinks.slack import SINK
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


def test_invitations_are_silent_by_default() -> None:
    assert "interview.create" not in SlackConfig(token=TOKEN, channel="C0123456789").events


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
        ({"token": TOKEN, "channel": "C0123456789", "events": ["interview.finished"]}, "interview.finish"),
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
    own = SlackConfig.model_fields.keys() - {"timezone"}
    assert [name for name in own if not SlackConfig.model_fields[name].description] == []


def test_the_destination_is_the_channel() -> None:
    assert SINK("one", SlackConfig(token=TOKEN, channel="C0123456789")).destination == "C0123456789"


def test_the_destination_of_a_webhook_shows_its_host_only() -> None:
    destination = SINK("one", SlackConfig(webhook_url=HOOK)).destination
    assert destination.startswith("hooks.slack.com#")
    assert "verysecret" not in destination
