"""Slow disk: ingest while every sync takes 4 ms longer, as on many cloud disks."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from benchmarks import ingest
from benchmarks.wrk import Missing

SOURCE = Path(__file__).with_name("slow_sync.c")
DELAY_US = 4_000
VARIANTS = {"SQLite, every sync 4 ms later": (), "the same, state sink draining": ("sheet",)}


async def run(*, quick: bool = False) -> None:
    """Measures and prints. Raises `Missing` without wrk or a C compiler."""
    with tempfile.TemporaryDirectory(prefix="slow-") as folder:
        environ = slowed(Path(folder))
        async with ingest.compared("Slow disk", quick=quick, clients=(64,)) as comparison:
            for name, draining in list(VARIANTS.items())[: 1 if quick else None]:
                await comparison.add(name, draining, environ=environ)


def slowed(folder: Path) -> dict[str, str]:
    """Builds the delay library in a folder and returns the environment that loads it. Raises `Missing`."""
    compiler = shutil.which("cc")
    if compiler is None:
        raise Missing("no C compiler: apt-get install gcc libc6-dev (Debian, Ubuntu)")
    library = folder / "slow_sync.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-O2", "-o", library, SOURCE, "-ldl"], check=True)
    return {"LD_PRELOAD": str(library), "SLOW_SYNC_US": str(DELAY_US)}
