"""The states of a webhook event on its way through processing."""

from enum import StrEnum


class EventStatus(StrEnum):
    """`skipped`: no handler knows the type. `unassigned`: its database belongs to no organisation yet."""

    PENDING = "pending"
    PROCESSING = "processing"
    DONE = "done"
    SKIPPED = "skipped"
    INVALID = "invalid"
    UNASSIGNED = "unassigned"
    DEAD = "dead"
