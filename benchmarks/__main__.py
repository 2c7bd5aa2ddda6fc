"""`python -m benchmarks [NAME…] [--quick]`: runs the measurements named, or all."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from importlib import import_module

from benchmarks import tables
from benchmarks.wrk import Missing

NAMES = (
    "ingest",
    "burst",
    "memory",
    "startup",
    "sheet",
    "workbook",
    "flat",
    "slowdisk",
    "postgres",
    "drain",
    "fleet",
    "road",
    "retention",
    "backfill",
    "pages",
)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of: {', '.join(NAMES)}; none = all")
    parser.add_argument("--quick", action="store_true", help="a second or two each, for trying out; no figures to keep")
    options = parser.parse_args(arguments)
    unknown = [name for name in options.names if name not in NAMES]
    if unknown:
        parser.error(f"no measurement {unknown[0]!r}; there are: {', '.join(NAMES)}")
    tables.progress(tables.machine())
    missing = [name for name in options.names or NAMES if not _ran(name, quick=options.quick)]
    return 1 if missing else 0


def _ran(name: str, *, quick: bool) -> bool:
    module = import_module(f"benchmarks.{name}")
    try:
        asyncio.run(module.run(quick=quick))
    except Missing as error:
        print(f"{name}: not measured: {error}", file=sys.stderr)
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
