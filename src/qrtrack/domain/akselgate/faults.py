"""The faults of a gateway that the sandbox plays."""

from enum import StrEnum


class Fault(StrEnum):
    """How the gateway misbehaves. Where a batch is read and not refused, the sandbox has taken it all the same."""

    NONE = "none"
    REFUSE = "refuse"
    HANG_UNREAD = "hang-unread"
    HANG = "hang"
    RESET = "reset"
    HALF = "half"
    ERROR = "500"
    INVALID_JSON = "invalid-json"
    DUPLICATE = "duplicate"
    REDIRECT = "redirect"
    REJECT = "reject"
