"""The states of a webhook event on its way to the owner's own system."""

from enum import StrEnum


class ForwardStatus(StrEnum):
    """Passing an event on to the owner's own system."""

    PENDING = "pending"
    SENT = "sent"
    DEAD = "dead"
