"""An acknowledgement means that the event is on the disk: a sync precedes every one."""

from __future__ import annotations

import mmap
import shutil
import struct
import subprocess
from pathlib import Path

import httpx
import pytest

from tests.flows.process import Service, post

SILENT = """
[sinks.chat]
type = "console"
[[routes]]
sinks = ["chat"]
events = ["interview.delete"]
"""
"""No event of this test makes a delivery, so that only the receiver writes."""


@pytest.fixture
def shim(tmp_path: Path) -> Path:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("needs a C compiler (Debian package gcc) to build the counter of syncs")
    library = tmp_path / "sync_counter.so"
    source = Path(__file__).with_name("sync_counter.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-O2", "-o", library, source, "-ldl"], check=True)
    return library


def test_a_sync_reaches_the_disk_before_every_acknowledgement(tmp_path, shim):
    """The count of syncs is higher at each 202 than when its request was sent."""
    counter = tmp_path / "count"
    counter.write_bytes(bytes(8))
    folder = tmp_path / "service"
    folder.mkdir()
    service = Service(folder, SILENT, LD_PRELOAD=str(shim), SYNC_COUNTER=str(counter))
    with counter.open("r+b") as file, mmap.mmap(file.fileno(), 8) as shared, service, httpx.Client() as client:

        def syncs() -> int:
            return struct.unpack("L", shared[:8])[0]

        for number in range(60):
            before = syncs()
            payload = {"event": "interview.create", "data": {"id": f"i{number}"}, "date": 1_761_566_424_000}
            assert post(client, service.hook, payload) == 202
            assert syncs() > before
        before = syncs()
        assert post(client, service.hook, payload | {"event": "interview.finish"}) == 202
        assert syncs() > before
