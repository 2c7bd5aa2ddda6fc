"""A store moves from SQLite to PostgreSQL under a service: what waited is delivered there, and nothing twice."""

import json

from connector.store.schema import delivery
from tests.cli.world import NOON, World, body
from tests.flows.process import Service
from tests.postgres import rows

TOML = """
[sinks.sheet]
type = "workbook"
path = "sheet.xlsx"

[sinks.chat]
type = "console"
max_age = 1e12

[store]
url = "{store}"
"""
PENDING = "SELECT 1 FROM delivery WHERE state = 0 AND purpose <> 'verify' LIMIT 1"


def test_what_waits_in_the_old_store_is_delivered_from_the_new_one(run, tmp_path, config, postgres_url):
    world = World(tmp_path)
    world.receive(*(body("interview.finish", number, NOON + number) for number in range(1, 6)))
    world.settle_all()
    world.receive(body("interview.score-updated", 1, NOON + 100, score=4))
    waiting = {row.id for row in world.rows(delivery, state=0)}
    world.close()
    config.write_text(config.read_text().replace("sqlite:///connector.db", postgres_url))
    assert run("migrate").exit_code == 0
    config.write_text(config.read_text().replace(postgres_url, "sqlite:///connector.db"))
    assert run("store", "copy", "--to", postgres_url).exit_code == 0
    with Service(tmp_path, TOML.format(store=postgres_url)) as service:
        service.until(lambda: not rows(postgres_url, PENDING))
        [status] = [run("status", "--json")]
    lines = [line for line in service.output if "Candidate" in line]
    assert len(lines) == 1
    assert "Candidate 1" in lines[0]
    assert (tmp_path / "sheet.xlsx").exists()
    assert len(waiting) == 2
    assert {id_ for (id_,) in rows(postgres_url, "SELECT id FROM delivery WHERE attempts = 0")} >= waiting
    assert json.loads(status.stdout)["source"]["events"] == 6
