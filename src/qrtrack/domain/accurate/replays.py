"""Which webhook events a person lists or replays."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class EventSelection:
    """A member that is None matches every event."""

    status: str | None
    type: str | None
    database_id: int | None
    forward_status: str | None
