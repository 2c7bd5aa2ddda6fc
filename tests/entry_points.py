"""The entry points of pyproject.toml: those that are installed, and those of a copy of the source tree."""

from __future__ import annotations

import tomllib
from importlib.metadata import entry_points
from pathlib import Path

from connector.registry import DISTRIBUTION, GROUP

ROOT = Path(__file__).parents[1]


def declared(folder: Path = ROOT) -> dict[str, str]:
    """The sinks that a pyproject.toml declares: type -> value."""
    with (folder / "pyproject.toml").open("rb") as stream:
        found: dict[str, str] = tomllib.load(stream)["project"]["entry-points"][GROUP]
    return found


def installed() -> dict[str, str]:
    """The sinks of our distribution as it is installed: type -> value."""
    points = entry_points(group=GROUP)
    return {point.name: point.value for point in points if point.dist and point.dist.name == DISTRIBUTION}


def install_in_place(folder: Path) -> None:
    """Writes the metadata that `pip install` would write, so that a copy with PYTHONPATH at `folder` has its sinks."""
    info = folder / f"{DISTRIBUTION.replace('-', '_')}-0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {DISTRIBUTION}\nVersion: 0\n")
    lines = [f"{name} = {value}\n" for name, value in declared(folder).items()]
    (info / "entry_points.txt").write_text(f"[{GROUP}]\n{''.join(lines)}")
