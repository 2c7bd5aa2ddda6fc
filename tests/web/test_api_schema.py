"""The API answers every request that its description allows, and many that it does not, without a fault."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from tests.serving import sample
from tests.web.browsing import dashboard
from tests.web.test_api import ACT, TOML


def call_all(url, count):
    """Calls each operation of the description with `count` requests. Returns the number of operations."""
    # imported here, because it takes two seconds, and every worker process imports every file of tests
    import schemathesis
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance

    checks = [not_a_server_error, content_type_conformance, response_schema_conformance]
    schema = schemathesis.openapi.from_url(f"{url}/schema/openapi.json", headers=ACT)
    operations = [result.ok() for result in schema.get_all_operations()]
    for operation in operations:

        @settings(
            max_examples=count,
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy())
        def send(case):
            case.call_and_validate(headers=ACT, checks=checks)

        send()
    return len(operations)


async def all_called(folder, count):
    async with dashboard(folder, TOML, password=None) as (service, _):
        for number in range(3):
            await service.post(sample("finish", id=f"interview {number}"))
        return await asyncio.to_thread(call_all, service.url, count)


async def test_no_request_makes_the_api_fail_or_answer_other_than_described(tmp_path):
    assert await all_called(tmp_path, 3) >= 13


@pytest.mark.chaos
async def test_no_request_of_many_makes_the_api_fail(tmp_path):
    assert await all_called(tmp_path, 300) >= 13
