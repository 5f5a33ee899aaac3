"""The faults of a gateway that the sandbox simulates."""

from enum import StrEnum


class Fault(StrEnum):
    """The faults that can be simulated. The sandbox takes the batch nevertheless, except with a fault in NOT_TAKEN."""

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
