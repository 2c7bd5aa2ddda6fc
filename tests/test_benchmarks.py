"""The benchmarks run. Their results are not asserted."""

from __future__ import annotations

import re

import pytest

from benchmarks import __main__ as benchmarks
from benchmarks import (
    backfill,
    burst,
    drain,
    flat,
    fleet,
    ingest,
    memory,
    pages,
    postgres,
    retention,
    road,
    sheet,
    slowdisk,
    startup,
    workbook,
    wrk,
)

pytestmark = pytest.mark.bench


@pytest.mark.skipif(not wrk.is_installed(), reason=wrk.MISSING)
async def test_ingest_finds_every_acknowledged_event_in_a_sound_store(capsys):
    await ingest.run(quick=True)
    assert " ".join(capsys.readouterr().out.split()).count("integrity_check ok") == len(ingest.VARIANTS)


async def test_burst_finds_every_interview_in_the_sheet_once(capsys):
    await burst.run(quick=True)
    assert "seconds to the last row" in capsys.readouterr().out


async def test_backfill_has_every_row_correct_after_three_kills(capsys):
    await backfill.run(quick=True)
    assert "rows that are right" in capsys.readouterr().out


async def test_memory_is_read_before_and_after_a_burst(capsys):
    await memory.run(quick=True)
    assert "through a burst of" in capsys.readouterr().out


async def test_startup_times_every_webhook_until_its_sink_is_called(capsys):
    await startup.run(quick=True)
    assert "sink called" in capsys.readouterr().out


async def test_retention_measures_every_period(capsys):
    await retention.run(quick=True)
    assert "Retention over 10 periods" in capsys.readouterr().out


def test_an_unknown_name_is_refused_with_the_known_ones(capsys):
    with pytest.raises(SystemExit, match="2"):
        benchmarks.main(["ingets"])
    assert "ingest, burst, memory, startup" in capsys.readouterr().err


async def test_sheet_measures_a_flush_by_calls_and_bytes():
    cost = await sheet._measure(60, "changed", 5)
    assert cost.calls == 3  # the formats of rows that the sink did not write are read once
    assert cost.received > 60 * 50


async def test_road_counts_one_event_until_its_delivery_is_settled(capsys):
    await road.run(quick=True)
    rows = dict(re.findall(r"│\s*([a-z ]+?)\s*│\s*(\d+)", capsys.readouterr().out))
    assert int(rows["commits"]) >= 1
    assert int(rows["calls of own functions"]) > int(rows["files"]) > 1


async def test_flat_measures_at_every_size(capsys):
    await flat.run(quick=True)
    assert "any old interviews, again: events/s" in capsys.readouterr().out


@pytest.mark.skipif(not wrk.is_installed(), reason=wrk.MISSING)
async def test_slowdisk_delays_every_sync(capsys):
    await slowdisk.run(quick=True)
    assert " ".join(capsys.readouterr().out.split()).count("integrity_check ok") == 1


@pytest.mark.skipif(not wrk.is_installed(), reason=wrk.MISSING)
async def test_postgres_finds_every_event_of_one_and_of_two_receivers(capsys):
    await postgres.run(quick=True)
    out = " ".join(capsys.readouterr().out.split())
    assert out.count("on PostgreSQL") >= len(postgres.VARIANTS)
    assert "stored, none twice" in out


async def test_drain_empties_both_stores(capsys):
    await drain.run(quick=True)
    assert "PostgreSQL, batches of 500" in capsys.readouterr().out


async def test_a_fleet_loses_nothing_through_a_kill_and_a_stop(tmp_path):
    found = await fleet.storm(tmp_path, 50)
    assert {each.lost for each in found.values()} == {0}
    assert {each.violations for each in found.values()} == {0}
    assert {each.unmarked for each in found.values()} == {0}


async def test_pages_times_every_page(capsys):
    await pages.run(quick=True)
    out = capsys.readouterr().out
    assert "missed" not in out
    assert "poll of a page" in out


async def test_the_cost_of_a_call_of_the_workbook(capsys):
    await workbook.run(quick=True)
    assert "one changed cell" in capsys.readouterr().out
