"""Settings that every chat shares."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Mode = Literal["post", "broadcast", "reply", "edit", "digest", "silent"]
"""What an event does.

`post`: a new message in the channel, always. `broadcast`: the interview's message when there is none yet, else a line
in its thread that is shown in the channel as well. `reply`: the same without the channel. `edit`: nothing new, but an
existing message is kept current. `digest`: as `edit`, and the position's digest counts it. `silent`: nothing.
"""


class Events(BaseModel):
    """What each kind of event does. A deletion always takes the candidate's name out of what was posted."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    create: Mode = Field(default="digest", description="A candidate was invited.")
    finish: Mode = Field(default="broadcast", description="A candidate finished the interview.")
    score_updated: Mode = Field(default="reply", description="The team's score changed.")
    status_change: Mode = Field(default="reply", description="The stage changed.")
    delete: Literal["edit", "reply", "broadcast"] = Field(default="edit", description="The interview was deleted.")

    def of(self, event: str) -> Mode:
        """The mode of an event by its name, such as `interview.finish`; an unknown one is silent."""
        name = event.removeprefix("interview.").replace("-", "_")
        mode: Mode = getattr(self, name) if name in Events.model_fields else "silent"
        return mode
