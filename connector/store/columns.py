"""The columns that the receiver writes, in the order in which plans hold their values."""

EVENT_COLUMNS = (
    "seq",
    "identity",
    "sha256",
    "kind",
    "name",
    "interview_id",
    "occurred_at",
    "received_at",
    "mark",
    "reason",
    "body",
)
INTERVIEW_COLUMNS = ("id", "state", "version", "position_id", "position_name", "stage", "updated_at", "entered")
DELIVERY_COLUMNS = ("sink", "key", "interview_id", "event_seq", "priority", "since", "silent")
