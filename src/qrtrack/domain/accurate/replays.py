"""The filter of webhook events to list or replay."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class EventSelection:
    """A filter of events. A field that is None matches every event."""

    status: str | None
    type: str | None
    database_id: int | None
    forward_status: str | None
