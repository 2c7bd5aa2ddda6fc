"""Quotas: reads and writes apart, per account and per project, by fixed minutes."""

import pytest

from connector.emulators.google.api import Quotas
from connector.emulators.google.errors import GoogleError

WRITE = {"updateSpreadsheetProperties": {"properties": {"timeZone": "UTC"}, "fields": "timeZone"}}


@pytest.fixture
def clock():
    return [600.0]


@pytest.fixture
def quotas(clock):
    quotas = Quotas(lambda: clock[0])
    quotas.enabled = True
    return quotas


def test_the_61st_call_of_an_account_is_429(quotas):
    for _ in range(60):
        quotas.take("read", "a")
    with pytest.raises(GoogleError) as caught:
        quotas.take("read", "a")
    assert caught.value.code == 429
    assert quotas.used("read", "a") == 60


def test_reads_writes_and_accounts_are_counted_apart(quotas):
    for _ in range(60):
        quotas.take("read", "a")
    quotas.take("write", "a")
    quotas.take("read", "b")
    assert (quotas.used("read"), quotas.used("write")) == (61, 1)


def test_a_project_has_300_calls(quotas):
    for account in "abcde":
        for _ in range(60):
            quotas.take("write", account)
    with pytest.raises(GoogleError) as caught:
        quotas.take("write", "f")
    assert caught.value.details[0]["metadata"]["quota_limit"] == "WriteRequestsPerMinutePerProject"


def test_the_next_minute_begins_afresh(quotas, clock):
    for _ in range(60):
        quotas.take("read", "a")
    clock[0] = 659.9
    with pytest.raises(GoogleError):
        quotas.take("read", "a")
    clock[0] = 660.0
    quotas.take("read", "a")
    assert quotas.used("read", "a") == 1


def test_quotas_are_off_by_default(api):
    assert {api.get(fields="spreadsheetId").status_code for _ in range(61)} == {200}


def test_the_body_names_metric_limit_and_value_and_nothing_was_applied(api, google):
    google.quotas.enabled = True
    google.quotas.per_user = 1
    google.clock = lambda: 0.0
    google.tokens.revoke()
    api.client.headers["Authorization"] = f"Bearer {google.token()}"
    api.done({**WRITE})
    response = api.batch({"addSheet": {}})
    error = response.json()["error"]
    assert (response.status_code, error["status"]) == (429, "RESOURCE_EXHAUSTED")
    assert error["message"] == (
        "Quota exceeded for quota metric 'Write requests' and limit 'Write requests per minute per user' of service "
        "'sheets.googleapis.com' for consumer 'project_number:104857600001'."
    )
    [info, _] = error["details"]
    assert info["reason"] == "RATE_LIMIT_EXCEEDED"
    assert info["metadata"]["quota_metric"] == "sheets.googleapis.com/write_requests"
    assert info["metadata"]["quota_limit"] == "WriteRequestsPerMinutePerUser"
    assert info["metadata"]["quota_limit_value"] == "1"
    assert google.titles(api.id) == ["Sheet1"]
    assert api.get().status_code == 200
