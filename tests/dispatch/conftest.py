from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.dispatch.rig import Rig, Scripted
from tests.stores import make_store_file


@pytest.fixture
async def rig_of(tmp_path: Path) -> AsyncIterator[Callable[..., Any]]:
    """Makes rigs and closes their stores."""
    made: list[Rig] = []

    async def make(*sinks: Scripted, **more: Any) -> Rig:
        rig = Rig(make_store_file(tmp_path / f"store{len(made)}.db"), *(sinks or (Scripted(),)), **more)
        await rig.register()
        made.append(rig)
        return rig

    yield make
    for rig in made:
        await rig.store.close()
