"""Forwarding webhook events to ACCURATE_FORWARD_URL: their states, and which events of a stream may be sent."""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from enum import StrEnum


class ForwardStatus(StrEnum):
    PENDING = "pending"
    SENT = "sent"
    DEAD = "dead"


@dataclass(slots=True)
class StreamRun:
    """One run through the pending events of a stream.

    `blocked` are the entities with an unsent event: their later events wait, those of other entities do not. `sent`
    counts the sent events. `retry_in` is the number of seconds until the stream is due again, or None if no event is
    left. `endpoint_error` says why the endpoint accepts no events at all.
    """

    blocked: set[str] = field(default_factory=set)
    sent: int = 0
    retry_in: float | None = None
    endpoint_error: str | None = None

    def retry_within(self, seconds: float) -> None:
        self.retry_in = seconds if self.retry_in is None else min(self.retry_in, seconds)

    def may_send(self, entities: AbstractSet[str], *, due_in: float | None) -> bool:
        """Returns False for an event that is not due, and for one that must wait for an earlier event of the same
        entity. Then its own entities are blocked too.
        """
        if due_in is not None and due_in > 0:
            self.retry_within(due_in)
        elif not self.blocked & entities:
            return True
        self.blocked |= entities
        return False
