from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from connector.testing import FakeContext
from sinks.webhook import Webhook, WebhookConfig
from tests.sinks.webhook.receiver import WebhookReceiver, whsec

SECRET = whsec("now")


@pytest.fixture
def receiver() -> Iterator[WebhookReceiver]:
    with WebhookReceiver() as server:
        yield server


@pytest.fixture
def context() -> FakeContext:
    return FakeContext()


@pytest.fixture
async def make_sink() -> AsyncIterator[Callable[..., object]]:
    opened: list[Webhook] = []

    async def make(url: str, **settings: object) -> Webhook:
        sink = Webhook("forward", WebhookConfig(url=url, **{"secret": SECRET, **settings}))
        await sink.open()
        opened.append(sink)
        return sink

    yield make
    for sink in opened:
        await sink.close()
