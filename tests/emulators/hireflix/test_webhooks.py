"""Webhooks are managed by operations whose names only introspection shows."""

from __future__ import annotations

import pytest

from connector.emulators.hireflix import HireflixEmulator
from connector.emulators.hireflix.account import Webhook as Stored
from connector.hireflix import EVENT_NAMES
from connector.hireflix.api import ActionRefused, HireflixApi
from connector.hireflix.webhook_api import NotFoundInSchema, WebhookApi, dashboard_steps

URL = "https://hooks.example.org/webhooks/hireflix"


@pytest.fixture(params=[False, True], ids=["plain", "wrapped"])
def emulator(request, account):
    """The operations in two styles with different names."""
    with HireflixEmulator(account, wrapped=request.param) as one:
        yield one


@pytest.fixture
async def hooks(emulator):
    async with HireflixApi(emulator.key, emulator.api_url) as api:
        yield await WebhookApi.discover(api)


async def test_a_webhook_is_created_for_all_events_and_listed(hooks, account):
    made = await hooks.create(URL)

    assert (made.url, set(made.events), made.active, made.missing_events) == (URL, EVENT_NAMES, True, [])
    assert await hooks.webhooks() == [made]
    assert set(account.webhooks[made.id].events) == EVENT_NAMES


async def test_an_inactive_webhook_is_activated(hooks, account):
    account.webhooks["h"] = Stored("h", URL, ["interview.finish"], active=False)
    [found] = await hooks.webhooks()

    changed = await hooks.update(found._replace(active=True, events=tuple(sorted(EVENT_NAMES))))

    assert (changed.active, changed.missing_events) == (True, [])
    assert account.webhooks["h"].active


async def test_missing_events_are_named(hooks, account):
    account.webhooks["h"] = Stored("h", URL, ["interview.finish", "interview.create", "interview.delete"])

    [found] = await hooks.webhooks()

    assert found.missing_events == ["interview.score-updated", "interview.status-change"]


async def test_the_key_of_the_signatures_is_read(hooks, account):
    assert await hooks.secret() == account.secret


async def test_the_log_is_read_with_newest_first(hooks, account):
    hook = account.webhooks["h"] = Stored("h", URL, [])
    hook.logs += [
        {"id": "1", "date": 1_761_566_424_000, "status": "success", "request": {"body": "{}"}, "response": None},
        {"id": "2", "date": 1_761_566_425_000, "status": "failed", "response": {"status": 401, "body": "no"}},
    ]

    entries = await hooks.log((await hooks.webhooks())[0])

    assert [(entry.at, entry.status) for entry in entries] == [
        (1_761_566_425_000, "failed"),
        (1_761_566_424_000, "success"),
    ]
    assert entries[0].response == {"status": 401, "body": "no"}


async def test_a_refused_creation_is_an_exception_with_the_reason(account):
    with HireflixEmulator(account, wrapped=True) as emulator:
        async with HireflixApi(emulator.key, emulator.api_url) as api:
            hooks = await WebhookApi.discover(api)
            for _ in range(3):
                await hooks.create(URL)
            with pytest.raises(ActionRefused, match="at most 3 webhooks"):
                await hooks.create(URL)


@pytest.mark.parametrize("schema", [{"shows_schema": False}, {"webhook_operations": False}], ids=["hidden", "none"])
async def test_without_operations_each_call_says_what_is_missing(account, schema):
    with HireflixEmulator(account, **schema) as emulator:
        async with HireflixApi(emulator.key, emulator.api_url) as api:
            hooks = await WebhookApi.discover(api)
            with pytest.raises(NotFoundInSchema, match="no operation to list webhooks"):
                await hooks.webhooks()
            with pytest.raises(NotFoundInSchema, match="no operation to read the key"):
                await hooks.secret()


def test_the_steps_name_the_address_and_every_event():
    said = dashboard_steps(URL)
    assert all(word in said for word in (URL, *EVENT_NAMES))
