"""The colours of a table. Each only repeats what the text of the same cell says."""

from __future__ import annotations

from collections.abc import Mapping

from connector.sink import Stage

STAGE_COLOURS: Mapping[Stage, str] = {
    Stage.PENDING: "EDEDED",
    Stage.TO_EVALUATE: "FFF2CC",
    Stage.SHORTLISTED: "D9EAD3",
    Stage.DISCARDED: "F4CCCC",
    Stage.DELETED: "BFBFBF",
}
"""Backgrounds, RRGGBB, light enough for black text; an unknown stage has none."""
HEADER_COLOUR = "E8EDF7"
"""Background of a header, RRGGBB."""
