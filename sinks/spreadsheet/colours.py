"""The colours of a table. A colour never adds information to the text of its cell."""

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
"""Background colours (RRGGBB), light enough for black text. An unknown stage has none."""
HEADER_COLOUR = "E8EDF7"
"""Background colour of a header (RRGGBB)."""
